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
#: What AWS makes up for each event source mapping, and where it stands.
MADE_FOR_MAPPINGS = {
    "EventSourceMappingArn",
    "LastModified",
    "LastProcessingResult",
    "State",
    "StateTransitionReason",
    "UUID",
}
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
    kinds = ("buckets", "firehose", "glue", "athena", "redshift", "roles", "kinesis_stream", "live")
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
        **_live(client),
    }


def _live(client: Client) -> dict[str, Any]:
    """The live path's resources."""
    functions, live = client("lambda"), NAMES.live
    found = sorted(item["FunctionName"] for item in functions.list_functions()["Functions"])
    (mapping,) = functions.list_event_source_mappings()["EventSourceMappings"]
    return {
        "functions": {name: _function(functions, name) for name in found},
        "mapping": {key: value for key, value in mapping.items() if key not in MADE_FOR_MAPPINGS},
        "invocations": {
            name: _settings(functions.get_function_event_invoke_config, name)
            for name in (live.react, live.clock)
        },
        "rules": {
            "react": _rule(client("events"), live.react, live.bus),
            "clock": _rule(client("events"), live.clock, "default"),
        },
        "topics": sorted(
            topic["TopicArn"].rpartition(":")[2] for topic in client("sns").list_topics()["Topics"]
        ),
        "queues": sorted(
            url.rpartition("/")[2] for url in client("sqs").list_queues()["QueueUrls"]
        ),
        "tables of DynamoDB": {
            name: _dynamodb(client("dynamodb"), name) for name in (live.table, live.reactions_table)
        },
        "api": _api(client("apigateway")),
    }


def _function(functions: Any, name: str) -> dict[str, Any]:
    found = functions.get_function_configuration(FunctionName=name)
    kept = ("Role", "Handler", "Runtime", "Timeout", "MemorySize", "CodeSize", "DeadLetterConfig")
    variables = dict(found["Environment"]["Variables"])
    if key := variables.pop("WRITE_KEYS_SHA256", None):
        variables["WRITE_KEYS_SHA256"] = str(len(key))  # each has a key of its own
    try:
        policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])["Statement"]
    except functions.exceptions.ResourceNotFoundException:
        policy = []
    return {
        **{key: found.get(key) for key in kept},
        "variables": variables,
        "invoked by": [statement["Principal"]["Service"] for statement in policy],
    }


def _settings(get: Callable[..., dict[str, Any]], function: str) -> dict[str, Any]:
    kept = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
    found = get(FunctionName=function)
    return {key: found[key] for key in kept}


def _rule(events: Any, name: str, bus: str) -> dict[str, Any]:
    found = events.describe_rule(Name=name, EventBusName=bus)
    kept = ("ScheduleExpression", "State")
    targets = events.list_targets_by_rule(Rule=name, EventBusName=bus)["Targets"]
    pattern = json.loads(found.get("EventPattern", "null"))
    return {key: found.get(key) for key in kept} | {"pattern": pattern, "targets": targets}


def _dynamodb(dynamodb: Any, name: str) -> dict[str, Any]:
    table = dynamodb.describe_table(TableName=name)["Table"]
    indexes = table.get("GlobalSecondaryIndexes", [])
    return {
        "key": table["KeySchema"],
        "billing": table["BillingModeSummary"]["BillingMode"],
        "attributes": sorted(item["AttributeName"] for item in table["AttributeDefinitions"]),
        "indexes": [[i["IndexName"], i["KeySchema"], i["Projection"]] for i in indexes],
        "expires": dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"],
    }


def _api(gateway: Any) -> dict[str, Any]:
    (api,) = gateway.get_rest_apis()["items"]
    place = {"restApiId": api["id"]}
    methods = {
        f"{method} {resource['path']}": gateway.get_method(
            **place, resourceId=resource["id"], httpMethod=method
        )
        for resource in gateway.get_resources(**place)["items"]
        for method in resource.get("resourceMethods", {})
    }
    (stage,) = gateway.get_stages(**place)["item"]
    (plan,) = gateway.get_usage_plans()["items"]
    (key,) = gateway.get_usage_plan_keys(usagePlanId=plan["id"])["items"]
    return {
        "name": api["name"],
        "binary": api["binaryMediaTypes"],
        "endpoints": api["endpointConfiguration"]["types"],
        "methods": {
            name: [
                method["apiKeyRequired"],
                method["methodIntegration"]["type"],
                method["methodIntegration"]["uri"],
            ]
            for name, method in sorted(methods.items())
        },
        "stage": stage["stageName"],
        "refusals": {
            answer["responseType"]: [
                answer["responseParameters"],
                answer["responseTemplates"],
                answer.get("statusCode"),
            ]
            for answer in gateway.get_gateway_responses(**place)["items"]
            if not answer["defaultResponse"]
        },
        "plan": [plan["name"], plan["throttle"], [s["stage"] for s in plan["apiStages"]]],
        "key": key["name"],
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
