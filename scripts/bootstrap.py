"""``python3 scripts/bootstrap.py .venv requirements/airflow.txt``: make one virtual environment.

It needs a Python with venv and nothing else: uv comes from PyPI (hash-pinned) into ``.venv-tools``
and makes the other environments with the same Python. ``make`` knows when to call it. Its syntax
is old on purpose, so that an old Python gets as far as saying that it is too old.
"""

import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = ".venv-tools"
OLDEST, NEWEST = (3, 11), (3, 13)


def main(environment: str, *requirements: str) -> None:
    """Make `environment` hold what `requirements` pin, and nothing else."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(
            f"Python 3.{OLDEST[1]} to 3.{NEWEST[1]} is needed, and {sys.executable} is "
            f"{sys.version.split()[0]}: name another, e.g. make PYTHON=python3.12"
        )
    os.chdir(ROOT)
    started = time.monotonic()
    print(f"{environment}: installing {' '.join(requirements)}", flush=True)
    if environment == TOOLS:
        make_tools(requirements)
    else:
        make_environment(environment, requirements)
    print(f"{environment}: ready after {time.monotonic() - started:.0f} s")


def make_tools(requirements: tuple) -> None:
    """Make the environment that holds uv, with what every Python brings along."""
    run(
        "install python3-venv (Debian, Ubuntu) or a Python that has venv and ensurepip",
        *[sys.executable, "-m", "venv", "--clear", TOOLS],
    )
    run(
        "check the network, or the package index that pip is told to use",
        *[TOOLS + "/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes"],
        *["--disable-pip-version-check", *("-r" + path for path in requirements)],
    )


def make_environment(environment: str, requirements: tuple) -> None:
    """Make an environment by uv; what is there and right is not installed again."""
    os.environ.update(UV_PYTHON_DOWNLOADS="never")
    uv, python = TOOLS + "/bin/uv", environment + "/bin/python"
    if not os.path.exists(python):
        venv = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment]
        run("make clean-all removes what is in the way", *venv)
    run(
        "check the network, or the package index that uv is told to use (UV_DEFAULT_INDEX)",
        *[uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python],
        *["--build-constraints", "requirements/build.txt", *requirements],
    )


def run(remedy: str, *command: str) -> None:
    """Run a command; when it fails, stop with what it said last and the remedy."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        errors = [line for line in lines if line.lower().startswith("error")] or lines
        sys.exit(f"{' '.join(command[:3])} failed: {errors[-1]}; {remedy}")


if __name__ == "__main__":
    main(*sys.argv[1:])
