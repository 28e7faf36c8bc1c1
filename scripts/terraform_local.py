"""``make terraform-local``: terraform/ applied to an embedded AWS of its own, used, and destroyed.

Deploy, a plan that changes nothing, the demo's day through Airflow, again a plan that changes
nothing, destroy, and nothing is left.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from typing import Any

from rich.console import Console

from scripts import deploy, terraform
from scripts.demo import Demo, Trouble
from scripts.provision import LOCALAWS_PYTHON, client
from scripts.terraform import ROOT, TerraformError

HOME = ROOT / "build" / "terraform-local"
EVENTS = 20_000


def main() -> int:
    """Run it all; 0 when every step held."""
    console = Console(highlight=False)
    if not terraform.is_usable():
        print(
            "terraform-local: needs Terraform 1.11 or newer, and its provider in TF_PLUGIN_DIR "
            "(docs/deploy.md says how to get both)",
            file=sys.stderr,
        )
        return 1
    ports = _free_port(), _free_port()
    demo = Demo(EVENTS, *ports, home=HOME)
    try:
        _remove(demo)
        demo.command(LOCALAWS_PYTHON, "-m", "localaws", "start")
        os.environ.update(demo.environment)
        _deploy("deploy")
        _expect_no_changes(console, demo, "after the deployment")
        demo.run()
        _expect_no_changes(console, demo, "after the demo")
        _deploy("destroy")
        if left := leftovers(lambda service: client(service, demo.aws_endpoint)):
            raise Trouble(f"destroy has left {', '.join(left)}")
        console.print("destroyed: nothing is left")
    except (Trouble, TerraformError) as trouble:
        print(f"terraform-local: {trouble}", file=sys.stderr)
        return 1
    finally:
        _remove(demo)
    return 0


def leftovers(client: Any) -> list[str]:
    """What is in an embedded AWS that was not there when it was new.

    Keys that wait for their deletion (30 days) and AWS's own things are left out.
    """
    kms, ec2 = client("kms"), client("ec2")
    keys = (kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in kms.list_keys()["Keys"])
    found: dict[str, list[str]] = {
        "API": [api["name"] for api in client("apigateway").get_rest_apis()["items"]],
        "API key": [key["name"] for key in client("apigateway").get_api_keys()["items"]],
        "alarm": [a["AlarmName"] for a in client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "bucket": [b["Name"] for b in client("s3").list_buckets()["Buckets"]],
        "budget": [
            b["BudgetName"]
            for b in client("budgets").describe_budgets(AccountId="000000000000").get("Budgets", [])
        ],
        "crawler": client("glue").list_crawlers()["CrawlerNames"],
        "dashboard": [
            d["DashboardName"] for d in client("cloudwatch").list_dashboards()["DashboardEntries"]
        ],
        "database": [d["Name"] for d in client("glue").get_databases()["DatabaseList"]],
        "delivery stream": client("firehose").list_delivery_streams()["DeliveryStreamNames"],
        "event bus": [
            bus["Name"]
            for bus in client("events").list_event_buses()["EventBuses"]
            if bus["Name"] != "default"
        ],
        "event rule": [r["Name"] for r in client("events").list_rules()["Rules"]],
        "firewall": [
            acl["Name"] for acl in client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]
        ],
        "function": [
            function["FunctionName"] for function in client("lambda").list_functions()["Functions"]
        ],
        "job": client("glue").list_jobs()["JobNames"],
        "key": [
            key["KeyId"]
            for key in keys
            if key["KeyState"] != "PendingDeletion" and key["KeyManager"] == "CUSTOMER"
        ],
        "log group": [g["logGroupName"] for g in client("logs").describe_log_groups()["logGroups"]],
        "namespace": [
            n["namespaceName"]
            for n in client("redshift-serverless").list_namespaces()["namespaces"]
        ],
        "network": [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]],
        "queue": client("sqs").list_queues().get("QueueUrls", []),
        "role": [r["RoleName"] for r in client("iam").list_roles()["Roles"]],
        "secret": [s["Name"] for s in client("secretsmanager").list_secrets()["SecretList"]],
        "stream": client("kinesis").list_streams()["StreamNames"],
        "table": client("dynamodb").list_tables()["TableNames"],
        "topic": [t["TopicArn"] for t in client("sns").list_topics()["Topics"]],
        "work group": [
            group["Name"]
            for group in client("athena").list_work_groups()["WorkGroups"]
            if group["Name"] != "primary"
        ],
    }
    return [f"{kind} {name}" for kind, names in found.items() for name in names]


def _deploy(command: str) -> None:
    if deploy.main([command, "embedded", "--yes"]):
        raise Trouble(f"{command} failed")


def _expect_no_changes(console: Console, demo: Demo, when: str) -> None:
    made = terraform.embedded(demo.localaws_home, demo.aws_endpoint)
    made.init()
    if made.plan():
        made.shows = True
        made.plan()
        raise Trouble(f"a plan {when} wants changes")
    console.print(f"a plan {when} changes nothing: {len(made.resources())} resources and data")


def _remove(demo: Demo) -> None:
    """Stop what may run in the folder, and delete it."""
    if HOME.exists():
        demo.command(
            *(sys.executable, "-m", "scripts.airflow_server"),
            *("--home", str(demo.airflow_home), "stop"),
        )
        demo.command(LOCALAWS_PYTHON, "-m", "localaws", "stop")
        shutil.rmtree(HOME)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
