"""``python -m scripts.provision``: the pipeline's resources in the embedded AWS of this checkout.

By Terraform, as on AWS, when its binary and provider are on this machine (TF_PLUGIN_DIR); otherwise
the embedded AWS makes the same resources from the same names. What has begun one way goes on so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config as ClientConfig
from clickstream.config import Config, ConfigError

from scripts import terraform
from scripts.tables import TablesError, create_tables
from scripts.terraform import ROOT, TerraformError

LOCALAWS_PYTHON = ROOT / ".venv-localaws" / "bin" / "python"


class ProvisionError(Exception):
    """One sentence for the user."""


def provision(home: Path, port: int) -> str:
    """Make what the pipeline needs in the embedded AWS on `port`; says who made it.

    Args:
        home: the embedded AWS's state folder, where Terraform's state lies too.
        port: its port on 127.0.0.1.

    Raises:
        ProvisionError: something could not be made.
    """
    endpoint = f"http://127.0.0.1:{port}"
    is_terraforms = (home / "terraform" / "terraform.tfstate").exists()
    if is_terraforms and not terraform.is_usable():
        raise ProvisionError(
            "Terraform made these resources, and cannot be used now: set TF_PLUGIN_DIR to the "
            "folder with its provider, or start from nothing (make clean)"
        )
    try:
        names = Config.from_environment()
        if is_terraforms or (terraform.is_usable() and not _exists(names, endpoint)):
            apply(home, endpoint, names)
            return "Terraform"
    except (ConfigError, TerraformError, TablesError, botocore.exceptions.ClientError) as error:
        raise ProvisionError(str(error)) from None
    command = [str(LOCALAWS_PYTHON), "-m", "localaws", "--home", str(home), "--port", str(port)]
    done = subprocess.run(
        [*command, "provision"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProvisionError(done.stderr.strip().removeprefix("localaws: "))
    return "the embedded AWS"


def apply(home: Path, endpoint: str, names: Config) -> terraform.Terraform:
    """Terraform's part: everything made, the tables created."""
    made = terraform.embedded(home, endpoint)
    made.arguments.append(f"-var=name_prefix={names.name_prefix}")
    if interval := os.environ.get("CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS"):
        made.arguments.append(f"-var=firehose_interval_seconds={interval}")
    made.init()
    made.apply()
    create_tables(names, lambda service: client(service, endpoint))
    return made


def client(service: str, endpoint: str) -> Any:
    """A client of the embedded AWS for whoever operates it."""
    factory: Any = boto3.client  # its overloads want a literal for each service
    return factory(
        service,
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="operator",
        aws_secret_access_key="operator",
        config=ClientConfig(s3={"addressing_style": "path"}),
    )


def _exists(names: Config, endpoint: str) -> bool:
    buckets = client("s3", endpoint).list_buckets()["Buckets"]
    return names.buckets.raw in {bucket["Name"] for bucket in buckets}


def main() -> int:
    """Provision the embedded AWS that the shell's settings name."""
    home = Path(os.environ.get("LOCALAWS_HOME", ROOT / ".localaws")).resolve()
    try:
        maker = provision(home, int(os.environ.get("LOCALAWS_PORT", "4566")))
    except (ProvisionError, botocore.exceptions.EndpointConnectionError) as error:
        print(f"provision: {error}", file=sys.stderr)
        return 1
    print(f"provision: the pipeline's resources are there, made by {maker}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
