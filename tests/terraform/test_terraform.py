"""terraform/ is well formed, makes what it says, and what it makes breaks no rule."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from clickstream.config import Config

from scripts import terraform
from scripts.terraform import FOLDER, Terraform, TerraformError
from tests.conftest import ROOT, EmbeddedAws
from tests.terraform import campaign
from tests.terraform.campaign import MUTANTS, Mutant
from tests.terraform.policies import PROMISES, RULES, Plan, findings, unread

Deployed = tuple[EmbeddedAws, Terraform]
BATCHES = list(campaign.batches(MUTANTS))


@pytest.fixture(scope="module")
def prod(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JSON of a plan of prod.tfvars."""
    return campaign.prod_plan(deployed[1], tmp_path_factory.mktemp("prod"))


@pytest.mark.skipif(not shutil.which("terraform"), reason="needs terraform")
def test_the_sources_are_formatted() -> None:
    done = subprocess.run(
        ["terraform", f"-chdir={FOLDER}", "fmt", "-check", "-recursive"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


def test_the_sources_are_valid_and_their_conditions_hold(deployed: Deployed) -> None:
    made = deployed[1]
    made.read("validate")
    said = made.read("test", "-no-color")
    passed = re.search(r"Success! (\d+) passed, 0 failed\.", said)
    assert passed, said
    assert int(passed[1]) == sum(
        path.read_text().count("\nrun ") for path in FOLDER.glob("tests/*.tftest.hcl")
    )


def test_a_second_plan_changes_nothing(deployed: Deployed) -> None:
    assert deployed[1].plan() is False


def test_every_rule_holds(deployed: Deployed, tmp_path: Path) -> None:
    plan = campaign.planned(deployed[1], tmp_path)
    assert unread(plan) == []
    assert findings(plan) == []


def test_the_page_on_security_names_every_rule() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    table = page.partition("## Controls")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z0-9_]+)` \|", table))
    assert named == RULES.keys()


def test_the_page_on_security_gives_a_reason_for_each_check_left_out() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    section = page.partition("\n## Checks left out")[2].partition("\n## ")[0]
    rows = [row.split("|") for row in re.findall(r"^\| CKV.*", section, re.M)]
    assert all(len(reason) > 40 for _, _, _, reason, _ in rows)
    named = [check for _, checks, *_ in rows for check in checks.split(",")]
    assert sorted(check.strip() for check in named) == sorted(campaign.NOT_HERE)


@pytest.mark.parametrize("mutants", BATCHES, ids=lambda mutants: f"{len(mutants)}")
def test_every_mistake_is_noticed(
    deployed: Deployed, tmp_path: Path, mutants: list[Mutant]
) -> None:
    expected = {rule for mutant in mutants for rule in mutant.rules}
    assert campaign.noticed(campaign.planned(deployed[1], tmp_path, mutants)) == expected


def test_every_rule_notices_some_mistake() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 35
    assert all(mutant.rules for mutant in MUTANTS)
    assert {rule for mutant in MUTANTS for rule in mutant.rules} >= RULES.keys()


def test_a_scanner_finds_nothing_in_the_sources() -> None:
    counts = campaign.scan_sources(FOLDER / "envs" / "prod.tfvars")
    assert (counts["failed"], counts["skipped"], counts["parsing_errors"]) == (0, 0, 0)
    assert counts["resource_count"] >= 60


def test_a_scanner_finds_nothing_in_the_plan_of_prod(prod: Path) -> None:
    counts = campaign.scan_plan(prod)
    assert (counts["failed"], counts["skipped"], counts["parsing_errors"]) == (0, 0, 0)
    assert counts["resource_count"] >= 60


def test_prod_is_protected_in_many_zones_and_keeps_more(prod: Path, deployed: Deployed) -> None:
    document = json.loads(prod.read_text())
    plan, dev = Plan(document), Plan(_dev(deployed[1], prod.parent))
    assert document["planned_values"]["outputs"]["is_protected"]["value"] is True
    refusals = [
        action
        for change in document["resource_changes"]
        if change["type"] == "aws_iam_policy_document" and "module_address" in change
        for statement in change["change"]["after"]["statement"]
        if statement["sid"] in ("DenyDeletion", "DenyDeletionOfVersions")
        for action in statement["actions"]
    ]
    assert Counter(refusals) == {"s3:DeleteBucket": 10, "s3:DeleteObjectVersion": 2}
    zones = {subnet.values["availability_zone"] for subnet in plan.of("subnet", "private")}
    assert len(zones) == 3
    assert len(plan.of("nat_gateway")) == 2
    assert len(plan.of("s3_bucket_replication_configuration")) == 10
    origins = plan.variables["live_path"]["allowed_origins"]
    assert all(origin.startswith("https://") for origin in origins)
    tables = plan.of("dynamodb_table")
    assert [table.values["deletion_protection_enabled"] for table in tables] == [True, True]

    def kept(of: Plan) -> list[int]:
        (raw,) = (
            expiry["days"]
            for lifecycle in of.of("s3_bucket_lifecycle_configuration")
            if "replica_buckets" not in lifecycle.address and '"raw"' in lifecycle.address
            for rule in lifecycle.values["rule"]
            for expiry in rule["expiration"]
            if expiry.get("days")
        )
        (stream,) = of.of("kinesis_stream")
        logs = of.of("cloudwatch_log_group")
        return [
            raw,
            stream.values["retention_period"],
            min(group.values["retention_in_days"] for group in logs),
        ]

    assert all(more > less for more, less in zip(kept(plan), kept(dev), strict=True))


def _dev(made: Terraform, folder: Path) -> dict[str, Any]:
    variables = FOLDER / "envs" / "dev.tfvars"
    arguments = [
        f"-state={folder / 'dev.tfstate'}",
        f"-var-file={variables}",
        f"-var=account_id={campaign.ACCOUNT}",
        "-var=is_embedded=true",
    ]
    dev = replace(made, folder=terraform.copy_root(folder), arguments=arguments)
    dev.init()
    dev.plan(f"-out={folder / 'dev.plan'}")
    return dev.show(folder / "dev.plan")


def test_outputs_are_what_airflow_reads(deployed: Deployed) -> None:
    outputs = deployed[1].outputs()
    config = Config.from_environment(outputs["environment"])
    named = asdict(config)
    assert {name: named[name] for name in outputs["names"]} == outputs["names"]
    settings = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)
    assert outputs["environment"].keys() <= set(settings)
    assert outputs["role_arns"].keys() == vars(config.roles).keys()


def test_a_bad_setting_is_refused_with_its_sentence(deployed: Deployed, tmp_path: Path) -> None:
    root = terraform.copy_root(tmp_path)
    made = replace(deployed[1], folder=root)
    made.init()
    for setting, sentence in (
        ("region=mars-1", "region must be the name of an AWS region"),
        ("name_prefix=Bad_Prefix", "name_prefix must be 2 to 30 lower-case letters"),
        ("vpc_cidr=1.2.3.4/20", "vpc_cidr must be a private IPv4 range"),
        ('alert_emails=["nobody"]', "alert_emails must be e-mail addresses"),
        ("raw_retention_days=1", "raw_retention_days must be at least replay_window_days"),
        (
            'live_path={allowed_origins=["shop.example"]}',
            "live_path.allowed_origins must hold origins without a path",
        ),
        (
            "live_path={concurrency={stream=1}}",
            "live_path.concurrency.stream must be at least kinesis_shard_count",
        ),
    ):
        with pytest.raises(TerraformError, match=re.escape(sentence)):
            made.plan("-refresh=false", "-lock=false", f"-var={setting}")


def test_the_runbook_knows_every_alarm() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    section = page.partition("## An alarm rings")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.M)
    assert set(re.findall(r"`(.*?)`", " ".join(first_cells))) == PROMISES


def test_nothing_is_destroyed_that_nobody_confirmed(deployed: Deployed) -> None:
    aws, made = deployed
    before = made.resources()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.deploy", "destroy", "embedded"],
        cwd=ROOT,
        env={
            **made.environment,
            "PYTHONPATH": "plugins",
            "LOCALAWS_HOME": str(aws.home),
            "AWS_REGION": aws.region,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"Plan: 0 to add, 0 to change, \d+ to destroy", done.stdout)
    assert done.stderr.splitlines()[-1] == (
        "deploy: nobody is there to confirm this; run it in a terminal, or pass YES=1"
    )
    assert made.resources() == before


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [("nowhere", "there is no environment 'nowhere'; ENV is one of dev, embedded, prod")],
)
def test_an_environment_that_is_not_there_is_named(
    aws: EmbeddedAws, environment: str, sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.deploy", "deploy", environment],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": "plugins",
            "AWS_ENDPOINT_URL": aws.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (1, f"deploy: {sentence}")
