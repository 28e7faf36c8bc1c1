"""Terraform for an environment: a real account's, or the embedded AWS's.

The embedded AWS's state lies with its other state, so that both go together. Terraform works on a
copy of terraform/ there: a backend that somebody has set up for AWS is never touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts import bundle

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "terraform"
OLDEST = (1, 11)
#: Tells that a plan would change something (terraform plan -detailed-exitcode).
CHANGES = 2


class TerraformError(Exception):
    """What Terraform said; its first error."""


@dataclass
class Terraform:
    """One environment's Terraform.

    Attributes:
        folder: the root module.
        data: TF_DATA_DIR, where the provider is linked to.
        arguments: what every plan, apply and destroy is given (variables, state).
        environment: the whole environment of the process.
        shows: whether Terraform's own output goes to the terminal.
    """

    folder: Path
    data: Path
    arguments: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    shows: bool = False

    def init(self, *options: str) -> None:
        """Get the provider, from TF_PLUGIN_DIR when it is set, else as Terraform finds it."""
        mirror = self.environment.get("TF_PLUGIN_DIR")
        source = [f"-plugin-dir={mirror}"] if mirror else []
        self.run("init", "-lockfile=readonly", *source, *options)

    def apply(self, *options: str) -> None:
        """Make what the root says."""
        self.run("apply", "-auto-approve", *self.arguments, *options)

    def plan(self, *options: str) -> bool:
        """Whether anything would change."""
        return self.run("plan", "-detailed-exitcode", *self.arguments, *options) == CHANGES

    def destroy(self, *options: str) -> None:
        """Remove what the state holds."""
        self.run("destroy", "-auto-approve", *self.arguments, *options)

    def outputs(self) -> dict[str, Any]:
        """The outputs' values by their names."""
        found = json.loads(self.read("output", "-json", *self._state()))
        return {name: output["value"] for name, output in found.items()}

    def resources(self) -> list[str]:
        """The addresses of all resources in the state."""
        return self.read("state", "list", *self._state()).split()

    def show(self, plan: Path) -> dict[str, Any]:
        """A saved plan as Terraform's JSON."""
        shown: dict[str, Any] = json.loads(self.read("show", "-json", str(plan)))
        return shown

    def _state(self) -> list[str]:
        return [option for option in self.arguments if option.startswith("-state=")]

    def run(self, command: str, *options: str) -> int:
        """Run one command; returns 0, or 2 for a plan with changes.

        Raises:
            TerraformError: with Terraform's first error.
        """
        done = subprocess.run(
            [binary(), f"-chdir={self.folder}", command, "-input=false", "-no-color", *options],
            env=self._environment(),
            stdout=None if self.shows else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode not in (0, CHANGES if command == "plan" else 0):
            raise TerraformError(_first_error(done.stderr) or f"{command}: {done.stdout}")
        return done.returncode

    def read(self, *command: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [binary(), f"-chdir={self.folder}", *command],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise TerraformError(_first_error(done.stderr) or done.stdout)
        return done.stdout

    def _environment(self) -> dict[str, str]:
        environment = {**self.environment, "TF_DATA_DIR": str(self.data), "TF_IN_AUTOMATION": "1"}
        # A setting that names a missing file makes every command warn, and init fail.
        if not Path(environment.get("TF_CLI_CONFIG_FILE", os.devnull)).exists():
            del environment["TF_CLI_CONFIG_FILE"]
        return environment


def binary() -> str:
    """The terraform program.

    Raises:
        TerraformError: there is none, or it is too old.
    """
    found = shutil.which("terraform")
    if found is None:
        raise TerraformError("there is no terraform; install Terraform 1.11 or newer")
    return found


def is_usable() -> bool:
    """Whether Terraform can run here without a download: binary and provider are there."""
    try:
        version = subprocess.run(
            [binary(), "version", "-json"], capture_output=True, text=True, check=False
        ).stdout
        major, minor = json.loads(version)["terraform_version"].split(".")[:2]
    except (TerraformError, ValueError, KeyError):
        return False
    return (int(major), int(minor)) >= OLDEST and mirror() is not None


def mirror() -> Path | None:
    """The folder with the provider: TF_PLUGIN_DIR, else where an earlier `init` has put it."""
    if given := os.environ.get("TF_PLUGIN_DIR"):
        return Path(given)
    earlier = (FOLDER / ".terraform", *(ROOT / "build" / "terraform").glob("*"))
    found = (data / "providers" for data in earlier)
    return next((folder for folder in found if folder.is_dir()), None)


def embedded(home: Path, endpoint: str) -> Terraform:
    """Terraform for the embedded AWS at `endpoint`, whose state lies under `home`."""
    work = home / "terraform"
    variables = FOLDER / "envs" / "embedded.tfvars"
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR"))
    }
    return Terraform(
        copy_root(work / "root"),
        work / "data",
        [f"-state={work / 'terraform.tfstate'}", f"-var-file={variables}", "-parallelism=30"],
        {
            **kept,
            "TF_PLUGIN_DIR": str(mirror() or ""),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "terraform",
            "AWS_SECRET_ACCESS_KEY": "terraform",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1,localhost",
        },
    )


def copy_root(folder: Path) -> Path:
    """A copy of terraform/ under `folder`, beside what it reads; returns the copy.

    Its code is built for it alone: nobody else's build changes it while Terraform reads it.
    """
    copied = folder / "terraform"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(
        FOLDER, copied, ignore=shutil.ignore_patterns(".terraform", "backend.tf", "*.tfstate*")
    )
    for name in ("plugins", "sql"):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name, target_is_directory=True)
    bundle.build(folder / "build" / "code")
    return copied


def _first_error(text: str) -> str:
    """Terraform's first error without its frame."""
    lines = [re.sub(r"^[│╷╵]\s?", "", line).rstrip() for line in text.splitlines()]
    start = next((n for n, line in enumerate(lines) if line.startswith("Error: ")), None)
    if start is None:
        return ""
    rest = lines[start + 1 :]
    end = next((n for n, line in enumerate(rest) if line.startswith("Error: ")), len(rest))
    details = [line.strip() for line in rest[:end] if line.strip()]
    return " ".join([lines[start].removeprefix("Error: "), *details])
