"""``make deploy``, ``make destroy`` and ``make env``: one environment on AWS, by Terraform.

An environment is a file `terraform/envs/<name>.tfvars`. Its state lies beside that file until
somebody sets up a shared one (terraform/backend.tf.example).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config as ClientConfig
from clickstream.config import Config, ConfigError

from scripts import bundle, terraform
from scripts.tables import TablesError, create_tables
from scripts.terraform import FOLDER, ROOT, Terraform, TerraformError

OUTPUTS = ROOT / "build" / "outputs"
#: The environment of this machine; its state lies with the embedded AWS's own.
EMBEDDED = "embedded"


class Trouble(Exception):
    """One sentence for the user."""


class Deployment:
    """One environment, with the credentials of the shell."""

    def __init__(self, name: str) -> None:
        self.name = name
        # For the first question, whose account this is; then the environment says its own.
        self.region = os.environ.get("AWS_REGION", "us-east-1")
        if name == EMBEDDED:
            self.is_shared = False
            self.terraform = terraform.embedded(
                Path(os.environ.get("LOCALAWS_HOME", ROOT / ".localaws")).resolve(),
                os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            )
            self.account = "000000000000"
            return
        variables = FOLDER / "envs" / f"{name}.tfvars"
        if not variables.exists():
            known = ", ".join(sorted(path.stem for path in variables.parent.glob("*.tfvars")))
            raise Trouble(f"there is no environment {name!r}; ENV is one of {known}")
        self.is_shared = (FOLDER / "backend.tf").exists()
        state = [] if self.is_shared else [f"-state={FOLDER / 'envs' / f'{name}.tfstate'}"]
        self.account = self._client("sts").get_caller_identity()["Account"]
        arguments = [f"-var-file={variables}", f"-var=account_id={self.account}", *state]
        self.terraform = Terraform(FOLDER, ROOT / "build" / "terraform" / name, arguments)

    def deploy(self, is_confirmed: bool) -> None:
        """Show the plan, ask, apply it, create the tables and write the outputs."""
        if self.name != EMBEDDED:  # its copy of terraform/ has its own
            bundle.build()
        self._init()
        plan = self._planned()
        if plan is None:
            print(f"{self.name} in account {self.account} is as it should be")
        else:
            self._ask(f"Apply this to account {self.account}?", "yes", is_confirmed)
            self.terraform.shows = True
            self.terraform.run("apply", *self._state(), str(plan))
            self.terraform.shows = False
        outputs = self.terraform.outputs()
        self.region = outputs["environment"]["AWS_REGION"]
        count = create_tables(_config(outputs), self._client)
        OUTPUTS.mkdir(parents=True, exist_ok=True)
        path = OUTPUTS / f"{self.name}.json"
        path.write_text(json.dumps(outputs, indent=2) + "\n")
        print(f"{count} SQL files applied; outputs: {path.relative_to(ROOT)}; Airflow: make env")

    def destroy(self, is_confirmed: bool) -> None:
        """Empty the buckets and remove everything, after its name was typed."""
        self._init()
        outputs = self.terraform.outputs()
        if not outputs:
            print(f"{self.name}: there is nothing to destroy")
            return
        if outputs["is_protected"]:
            raise Trouble(
                f"{self.name} is protected: set is_protected = false in "
                f"terraform/envs/{self.name}.tfvars, make deploy, then destroy"
            )
        prefix = outputs["environment"]["CLICKSTREAM_NAME_PREFIX"]
        buckets = list(outputs["names"]["buckets"].values())
        self.region = outputs["environment"]["AWS_REGION"]
        self.terraform.shows = True
        self.terraform.plan("-destroy")
        self._ask(
            f"This deletes every event, table and key of {prefix} in account {self.account}. "
            "Type its name to go on:",
            prefix,
            is_confirmed,
        )
        for bucket in buckets:
            print(f"emptying {bucket}", flush=True)
            self._empty(bucket)
        self.terraform.destroy()

    def write_environment(self) -> None:
        """Write Airflow's settings to .env; what else it says stays."""
        self._init()
        outputs = self.terraform.outputs()
        if not outputs:
            raise Trouble(f"{self.name} is not deployed: make deploy ENV={self.name}")
        path = ROOT / ".env"
        settings = outputs["environment"]
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition("=")[0] not in settings]
        path.write_text("\n".join([*kept, *(f"{k}={v}" for k, v in settings.items())]) + "\n")
        print(f".env: {', '.join(settings)}")

    def _init(self) -> None:
        backend = FOLDER / "envs" / f"{self.name}.backend.hcl"
        shared = [f"-backend-config={backend}"] if self.is_shared and backend.exists() else []
        self.terraform.init("-reconfigure", *shared)

    def _planned(self) -> Path | None:
        """The saved plan, shown; None when nothing would change."""
        plan = self.terraform.data.with_suffix(".plan")
        self.terraform.shows = True
        has_changes = self.terraform.plan(f"-out={plan}")
        self.terraform.shows = False
        return plan if has_changes else None

    def _state(self) -> list[str]:
        return [option for option in self.terraform.arguments if option.startswith("-state=")]

    def _ask(self, question: str, answer: str, is_confirmed: bool) -> None:
        if is_confirmed:
            return
        if not sys.stdin.isatty():
            raise Trouble("nobody is there to confirm this; run it in a terminal, or pass YES=1")
        if input(f"{question} [{answer}] ").strip() != answer:
            raise Trouble("not confirmed; nothing was changed")

    def _empty(self, bucket: str) -> None:
        s3 = self._client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            doomed = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for kind in ("Versions", "DeleteMarkers")
                for item in page.get(kind, [])
            ]
            # Pages hold at most 1000 entries, as much as one call deletes.
            if doomed:
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
                for error in answer.get("Errors", []):
                    raise Trouble(f"{bucket}/{error['Key']}: {error['Message']}")

    def _client(self, service: str) -> Any:
        config = ClientConfig(s3={"addressing_style": "path"}) if self.name == EMBEDDED else None
        factory: Any = boto3.client  # its overloads want a literal for each service
        return factory(service, region_name=self.region, config=config)


def _config(outputs: dict[str, Any]) -> Config:
    return Config.from_environment({**os.environ, **outputs["environment"]})


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="deploy", description=__doc__)
    parser.add_argument("command", choices=["deploy", "destroy", "env"])
    parser.add_argument("environment", help="a file of terraform/envs without its ending")
    parser.add_argument("--yes", action="store_true", help="do not ask (YES=1)")
    given = parser.parse_args(argv)
    is_confirmed = given.yes or os.environ.get("YES") == "1"
    try:
        deployment = Deployment(given.environment)
        if given.command == "deploy":
            deployment.deploy(is_confirmed)
        elif given.command == "destroy":
            deployment.destroy(is_confirmed)
        else:
            deployment.write_environment()
    except botocore.exceptions.NoCredentialsError:
        print("deploy: there are no AWS credentials; see `aws configure`", file=sys.stderr)
        return 1
    except (Trouble, TerraformError, TablesError, ConfigError) as trouble:
        print(f"deploy: {trouble}", file=sys.stderr)
        return 1
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
