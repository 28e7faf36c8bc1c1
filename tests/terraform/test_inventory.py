"""What Terraform makes and what the embedded AWS makes without it are the same, name by name.

The same means what a run depends on: what is there, where it reads and writes, what it is told.
Who may do what, keys, alarms and the network are Terraform's alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from clickstream.config import Config

from scripts.terraform import Terraform
from tests.conftest import EmbeddedAws

NAMES = Config.from_environment({})
TOMBSTONES = tuple(f"{NAMES.prefixes.tombstones}{kind}/" for kind in ("user", "anonymous"))
Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(tmp_path_factory.mktemp("embedded")) as aws:
        aws.command("provision")
        yield aws


def test_both_ways_make_the_same(
    deployed: tuple[EmbeddedAws, Terraform], embedded: EmbeddedAws
) -> None:
    by_terraform, by_itself = inventory(deployed[0].client), inventory(embedded.client)
    for kind in by_itself:
        assert by_terraform[kind] == by_itself[kind], kind
        assert by_itself[kind], kind
    assert by_terraform.keys() == by_itself.keys()


def test_the_inventory_holds_every_name(deployed: tuple[EmbeddedAws, Terraform]) -> None:
    found = json.dumps(inventory(deployed[0].client))
    named = asdict(NAMES)
    kinds = ("buckets", "firehose", "glue", "athena", "redshift", "roles", "kinesis_stream")
    for kind in kinds:
        names = named[kind].values() if isinstance(named[kind], dict) else [named[kind]]
        for name in names:
            assert f'"{name}' in found, f"{kind}: {name}"


def inventory(client: Client) -> dict[str, Any]:
    """Every resource of the pipeline by its name, with what a run depends on."""
    s3, glue, firehose = client("s3"), client("glue"), client("firehose")
    kinesis, redshift = client("kinesis"), client("redshift-serverless")
    stream = kinesis.describe_stream_summary(StreamName=NAMES.kinesis_stream)
    workgroup = redshift.get_workgroup(workgroupName=NAMES.redshift.workgroup)["workgroup"]
    namespace = redshift.get_namespace(namespaceName=NAMES.redshift.namespace)["namespace"]
    roles = {role["RoleName"] for role in client("iam").list_roles()["Roles"]}
    return {
        "buckets": sorted(bucket["Name"] for bucket in s3.list_buckets()["Buckets"]),
        "life cycles": {
            bucket: s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
            for bucket in sorted(vars(NAMES.buckets).values())
        },
        "code": {
            item["Key"]: item["Size"]
            for item in s3.list_objects_v2(Bucket=NAMES.buckets.artifacts)["Contents"]
            # Whom a test has erased is nobody's resource; the salt is one.
            if not item["Key"].startswith(TOMBSTONES)
        },
        "roles": sorted(roles & set(vars(NAMES.roles).values())),
        "stream": {stream["StreamDescriptionSummary"]["StreamName"]: _shards(stream)},
        "delivery streams": {
            name: _delivery(firehose, name)
            for name in sorted(firehose.list_delivery_streams()["DeliveryStreamNames"])
        },
        "tables": {
            f"{database['Name']}.{table['Name']}": _table(table)
            for database in glue.get_databases()["DatabaseList"]
            for table in glue.get_tables(DatabaseName=database["Name"])["TableList"]
        },
        "jobs": {name: _job(glue, name) for name in glue.list_jobs()["JobNames"]},
        "crawlers": {name: _crawler(glue, name) for name in glue.list_crawlers()["CrawlerNames"]},
        "work groups": _work_groups(client("athena")),
        "warehouse": {
            NAMES.redshift.workgroup: [workgroup["namespaceName"], workgroup["baseCapacity"]],
            NAMES.redshift.namespace: [namespace["dbName"], namespace["defaultIamRoleArn"]],
            "public": workgroup["publiclyAccessible"],
            "schemas": client("redshift-data").list_schemas(
                WorkgroupName=NAMES.redshift.workgroup, Database=NAMES.redshift.database
            )["Schemas"],
            "tables": [
                f"{table['schema']}.{table['name']}"
                for table in client("redshift-data").list_tables(
                    WorkgroupName=NAMES.redshift.workgroup,
                    Database=NAMES.redshift.database,
                    SchemaPattern=NAMES.redshift.schema,
                )["Tables"]
            ],
        },
    }


def _shards(stream: dict[str, Any]) -> int:
    return int(stream["StreamDescriptionSummary"]["OpenShardCount"])


def _delivery(firehose: Any, name: str) -> dict[str, Any]:
    found = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
    s3 = found["Destinations"][0]["ExtendedS3DestinationDescription"]
    kept = (
        "RoleARN",
        "BucketARN",
        "Prefix",
        "ErrorOutputPrefix",
        "BufferingHints",
        "CompressionFormat",
    )
    source = found.get("Source", {}).get("KinesisStreamSourceDescription", {})
    return {
        "type": found["DeliveryStreamType"],
        "source": source.get("KinesisStreamARN"),
        **{name: s3[name] for name in kept},
    }


def _table(table: dict[str, Any]) -> dict[str, Any]:
    storage = table["StorageDescriptor"]
    return {
        "columns": [(column["Name"], column["Type"]) for column in storage["Columns"]],
        "partitions": [(key["Name"], key["Type"]) for key in table.get("PartitionKeys", [])],
        "location": storage["Location"],
    }


def _job(glue: Any, name: str) -> dict[str, Any]:
    job = glue.get_job(JobName=name)["Job"]
    kept = (
        "Role",
        "Command",
        "DefaultArguments",
        "GlueVersion",
        "WorkerType",
        "NumberOfWorkers",
        "ExecutionProperty",
        "Timeout",
    )
    return {key: job[key] for key in kept}


def _crawler(glue: Any, name: str) -> dict[str, Any]:
    crawler = glue.get_crawler(Name=name)["Crawler"]
    policy = crawler["SchemaChangePolicy"]
    return {
        "role": crawler["Role"].rpartition("/")[2],
        "database": crawler["DatabaseName"],
        "paths": [target["Path"] for target in crawler["Targets"]["S3Targets"]],
        "policy": [policy["UpdateBehavior"], policy["DeleteBehavior"]],
        "configuration": json.loads(crawler["Configuration"]),
    }


def _work_groups(athena: Any) -> dict[str, Any]:
    configuration = athena.get_work_group(WorkGroup=NAMES.athena.workgroup)["WorkGroup"][
        "Configuration"
    ]
    kept = (
        "EnforceWorkGroupConfiguration",
        "PublishCloudWatchMetricsEnabled",
        "BytesScannedCutoffPerQuery",
    )
    location = configuration["ResultConfiguration"]["OutputLocation"]
    return {
        NAMES.athena.workgroup: {key: configuration[key] for key in kept} | {"location": location}
    }
