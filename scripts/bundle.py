"""``python -m scripts.bundle``: the code that runs on AWS, as it lies in the artifacts bucket.

Terraform uploads the folder; the embedded AWS, where there is no Terraform, does the same.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "code"
#: What Glue's jobs import beside Spark, and Lambda's functions beside boto3; pure Python, in the
#: versions that requirements/ pin.
GLUE_LIBRARIES = ("ua-parser", "ua-parser-builtins")
LAMBDA_LIBRARIES = ("aws-lambda-powertools", "jmespath", "typing-extensions")


def build(folder: Path = FOLDER) -> list[Path]:
    """Write Glue's scripts, Lambda's functions and Airflow's DAGs, plugins and SQL under `folder`.

    The same sources give the same bytes, so that an upload happens only for what changed.

    Returns:
        The files, by their path in the bucket.

    Raises:
        FileNotFoundError: this checkout lacks a part of the code.
    """
    shutil.rmtree(folder, ignore_errors=True)
    copies = {
        **{f"glue/{path.name}": path for path in _some(ROOT / "glue", "*.py")},
        "airflow/requirements.txt": ROOT / "requirements" / "mwaa.txt",
        **{f"airflow/dags/{path.name}": path for path in _some(ROOT / "dags", "*.py")},
        **{
            f"airflow/dags/sql/{path.relative_to(ROOT / 'sql').as_posix()}": path
            for path in _some(ROOT / "sql", "**/*.sql")
        },
    }
    for name, source in copies.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    contract = _package(ROOT / "glue" / "clickstream_contract")
    package = _package(ROOT / "glue" / "clickstream_glue")
    _zip(folder / "glue" / "clickstream_glue.zip", contract | package)
    _zip(folder / "glue" / "libraries.zip", _libraries(GLUE_LIBRARIES))
    functions = contract | _package(ROOT / "lambdas") | _libraries(LAMBDA_LIBRARIES)
    _zip(folder / "lambda" / "lambdas.zip", functions)
    _zip(folder / "airflow" / "plugins.zip", _package(ROOT / "plugins" / "clickstream"))
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _some(folder: Path, pattern: str) -> Iterable[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} has no file like {pattern}")
    return found


def _package(folder: Path) -> dict[str, Path]:
    """A package's files by their path in a zip, the package's folder at its top."""
    return {
        path.relative_to(folder.parent).as_posix(): path
        for path in _some(folder, "**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _libraries(names: Iterable[str]) -> dict[str, Path]:
    """The modules of these libraries, as they are installed beside this script."""
    return {
        str(file): Path(str(file.locate()))
        for name in names
        for file in importlib.metadata.files(name) or ()
        if file.suffix == ".py" and ".." not in file.parts  # no programs beside the modules
    }


def _zip(target: Path, files: dict[str, Path]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name].read_bytes())


if __name__ == "__main__":
    for made in build():
        print(made)
