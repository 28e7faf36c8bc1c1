"""The access trail: what each call and each engine needs a permission for, and who needs it."""

from __future__ import annotations

import io
import json
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.conftest import LOCALAWS_PYTHON, ROOT, EmbeddedAws

ACCOUNT = "000000000000"
Used = set[tuple[str, str]]


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:12]}"


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:us-east-1:{ACCOUNT}:{resource}"


def role_arn(role: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def calls(aws: EmbeddedAws) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{aws.endpoint}/_localaws/trail") as answer:
        return json.load(answer)["calls"]


def used(aws: EmbeddedAws, principal: str) -> Used:
    found = calls(aws)
    return {(c["action"], c["resource"]) for c in found if c["principal"] == principal}


class Caller:
    """Somebody whose access key nobody else uses."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws, self.name = aws, unique("caller")

    def client(self, service: str) -> Any:
        return client(self.aws, service, self.name)

    def used(self) -> Used:
        return used(self.aws, self.name)


def client(aws: EmbeddedAws, service: str, key: str) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=aws.endpoint,
        aws_access_key_id=key,
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture
def caller(aws: EmbeddedAws) -> Caller:
    return Caller(aws)


@pytest.fixture
def key(aws: EmbeddedAws) -> str:
    """The ARN of a customer's KMS key."""
    return aws.client("kms").create_key()["KeyMetadata"]["Arn"]


@pytest.fixture
def encrypted(aws: EmbeddedAws, bucket: str, key: str) -> str:
    """A bucket whose objects are encrypted with `key`."""
    encrypt(aws, bucket, key)
    return bucket


def encrypt(aws: EmbeddedAws, bucket: str, key: str) -> None:
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    aws.client("s3").put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )


def wait(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)
    return found


def on_table(action: str, database: str, table: str) -> Used:
    places = ("catalog", f"database/{database}", f"table/{database}/{table}")
    return {(f"glue:{action}", arn("glue", place)) for place in places}


def in_bucket(bucket: str, prefix: str, *actions: str) -> Used:
    return {(f"s3:{action}", f"arn:aws:s3:::{bucket}/{prefix}*") for action in actions}


def listing(bucket: str) -> tuple[str, str]:
    return "s3:ListBucket", f"arn:aws:s3:::{bucket}"


# Requests


def test_calls_of_s3_need_what_iam_names_them(aws: EmbeddedAws, bucket: str) -> None:
    delete = {"Objects": [{"Key": "x/1"}, {"Key": "y/2"}]}
    for operation, request, needed in (
        ("head_bucket", {}, {listing(bucket)}),
        ("list_objects_v2", {"Prefix": "a/"}, {listing(bucket)}),
        ("put_object", {"Key": "in/a", "Body": b"1"}, in_bucket(bucket, "in/", "PutObject")),
        ("head_object", {"Key": "in/a"}, in_bucket(bucket, "in/", "GetObject")),
        ("get_object", {"Key": "in/a"}, in_bucket(bucket, "in/", "GetObject")),
        (
            "copy_object",
            {"Key": "to/a", "CopySource": f"{bucket}/in/a"},
            in_bucket(bucket, "to/", "PutObject") | in_bucket(bucket, "in/", "GetObject"),
        ),
        ("delete_object", {"Key": "to/a"}, in_bucket(bucket, "to/", "DeleteObject")),
        (
            "delete_objects",
            {"Delete": delete},
            in_bucket(bucket, "x/", "DeleteObject") | in_bucket(bucket, "y/", "DeleteObject"),
        ),
        ("get_bucket_location", {}, {("s3:GetBucketLocation", f"arn:aws:s3:::{bucket}")}),
    ):
        caller = Caller(aws)
        getattr(caller.client("s3"), operation)(Bucket=bucket, **request)
        assert caller.used() == needed, operation


def test_a_named_version_and_the_parts_of_an_upload_have_actions_of_their_own(
    caller: Caller, bucket: str
) -> None:
    s3 = caller.client("s3")
    caller.aws.client("s3").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big/a")["UploadId"]
    part = {"Bucket": bucket, "Key": "big/a", "UploadId": upload}
    tag = s3.upload_part(PartNumber=1, Body=b"1", **part)["ETag"]
    version = s3.complete_multipart_upload(
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **part
    )["VersionId"]
    assert caller.used() == in_bucket(bucket, "big/", "PutObject")
    s3.get_object(Bucket=bucket, Key="big/a", VersionId=version)
    assert caller.used() == in_bucket(bucket, "big/", "PutObject", "GetObjectVersion")


def test_to_learn_that_a_key_is_missing_one_must_be_allowed_to_list(
    caller: Caller, bucket: str
) -> None:
    with pytest.raises(ClientError):
        caller.client("s3").get_object(Bucket=bucket, Key="no/thing")
    assert caller.used() == {*in_bucket(bucket, "no/", "GetObject"), listing(bucket)}


def test_keys_are_noted_by_their_folders_that_are_words(caller: Caller, bucket: str) -> None:
    s3 = caller.client("s3")
    for name in (
        "top.json",
        "athena/3f2a.csv",
        "lake/fact_clicks/year=2026/month=11/a.parquet",
        "lake/fact_clicks/year=2025/month=10/b.parquet",
        "quality/2026-11-20/report.html",
        "one/two/three/four",
    ):
        s3.put_object(Bucket=bucket, Key=name, Body=b"1")
    prefixes = ("", "athena/", "lake/fact_clicks/", "quality/", "one/two/")
    assert caller.used() == set().union(*(in_bucket(bucket, p, "PutObject") for p in prefixes))


def test_one_call_is_noted_once_with_its_count(caller: Caller, bucket: str) -> None:
    s3 = caller.client("s3")
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"a/{number}", Body=b"1")
    found = [call for call in calls(caller.aws) if call["principal"] == caller.name]
    assert [call["count"] for call in found] == [5]


def test_calls_of_other_services_name_their_resources(caller: Caller, bucket: str) -> None:
    name, group = unique("thing"), f"/test/{uuid.uuid4().hex[:12]}"
    firehose, kinesis, logs = (caller.client(s) for s in ("firehose", "kinesis", "logs"))
    operator = caller.aws
    operator.client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        S3DestinationConfiguration={
            "RoleARN": role_arn(name),
            "BucketARN": f"arn:aws:s3:::{bucket}",
        },
    )
    operator.client("kinesis").create_stream(StreamName=name, ShardCount=1)
    operator.client("logs").create_log_group(logGroupName=group)
    topic = operator.client("sns").create_topic(Name=name)["TopicArn"]
    tables = [f"{name}-{number}" for number in (1, 2)]
    for table in tables:
        operator.client("dynamodb").create_table(
            TableName=table,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    operator.client("events").create_event_bus(Name=name)
    firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": b"1"}])
    firehose.list_delivery_streams()
    kinesis.put_records(StreamName=name, Records=[{"Data": b"1", "PartitionKey": "1"}])
    logs.create_log_stream(logGroupName=group, logStreamName="2026/run-1")
    logs.filter_log_events(logGroupName=group)
    caller.client("cloudwatch").list_metrics(Namespace="AWS/Firehose")
    caller.client("sns").publish(TopicArn=topic, Message="x")
    caller.client("sts").get_caller_identity()
    keys = {"Keys": [{"id": {"S": "1"}}]}
    caller.client("dynamodb").batch_get_item(RequestItems=dict.fromkeys(tables, keys))
    caller.client("dynamodb").get_item(TableName=tables[0], Key={"id": {"S": "1"}})
    entry = {"Source": "x", "DetailType": "y", "Detail": "{}", "EventBusName": name}
    caller.client("events").put_events(Entries=[entry])
    assert caller.used() == {
        ("firehose:PutRecordBatch", arn("firehose", f"deliverystream/{name}")),
        ("firehose:ListDeliveryStreams", "*"),
        ("kinesis:PutRecords", arn("kinesis", f"stream/{name}")),
        ("logs:CreateLogStream", arn("logs", f"log-group:{group}:*")),
        ("logs:FilterLogEvents", arn("logs", f"log-group:{group}:*")),
        ("cloudwatch:ListMetrics", "*"),
        ("sns:Publish", topic),
        ("sts:GetCallerIdentity", "*"),
        *(("dynamodb:BatchGetItem", arn("dynamodb", f"table/{table}")) for table in tables),
        ("dynamodb:GetItem", arn("dynamodb", f"table/{tables[0]}")),
        ("events:PutEvents", arn("events", f"event-bus/{name}")),
    }


def test_calls_of_glue_name_the_catalog_the_database_and_the_table(caller: Caller) -> None:
    glue, database = caller.client("glue"), f"db_{uuid.uuid4().hex[:12]}"
    glue.create_database(DatabaseInput={"Name": database})
    glue.create_table(DatabaseName=database, TableInput={"Name": "Events"})
    glue.get_partitions(DatabaseName=database, TableName="events")
    glue.get_tables(DatabaseName=database)
    expected = {
        ("glue:CreateDatabase", arn("glue", "catalog")),
        ("glue:CreateDatabase", arn("glue", f"database/{database}")),
        *on_table("CreateTable", database, "events"),
        *on_table("GetPartitions", database, "events"),
        *on_table("GetTables", database, "*"),
    }
    assert caller.used() == expected


def test_what_a_service_asks_of_others_for_itself_is_nobodys_call(
    caller: Caller, bucket: str
) -> None:
    glue, name = caller.client("glue"), unique("thing")
    command = {"Name": "glueetl", "ScriptLocation": f"s3://{bucket}/x.py"}
    # Its tags are kept by MiniStack, which Glue calls to set, read and remove them.
    glue.create_job(Name=name, Role="none", Command=command, Tags={"a": "b"})
    glue.list_jobs(Tags={"a": "b"})
    glue.delete_job(JobName=name)
    job = arn("glue", f"job/{name}")
    assert caller.used() == {
        ("glue:CreateJob", job),
        ("glue:ListJobs", "*"),
        ("glue:DeleteJob", job),
    }
    assert {c["principal"] for c in calls(caller.aws) if c["resource"] == job} == {caller.name}


def test_a_request_that_nobody_signed_is_not_noted(aws: EmbeddedAws, bucket: str) -> None:
    before = len(calls(aws))
    urllib.request.urlopen(f"{aws.endpoint}/{bucket}").read()
    urllib.request.urlopen(f"{aws.endpoint}/_localaws/health").read()
    assert len(calls(aws)) == before


def test_the_session_of_an_assumed_role_is_the_role(aws: EmbeddedAws, bucket: str) -> None:
    role = unique("assumed")
    aws.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    session = aws.client("sts").assume_role(RoleArn=role_arn(role), RoleSessionName="me")
    client(aws, "s3", session["Credentials"]["AccessKeyId"]).list_objects_v2(Bucket=bucket)
    assert used(aws, role) == {listing(bucket)}


# Encryption


def test_objects_of_an_encrypted_bucket_need_its_key(
    caller: Caller, encrypted: str, key: str
) -> None:
    s3 = caller.client("s3")
    s3.put_object(Bucket=encrypted, Key="in/a", Body=b"1")
    s3.head_object(Bucket=encrypted, Key="in/a")
    assert ("kms:GenerateDataKey", key) in caller.used()
    assert ("kms:Decrypt", key) not in caller.used()
    s3.get_object(Bucket=encrypted, Key="in/a")
    assert ("kms:Decrypt", key) in caller.used()


def test_the_parts_of_an_upload_need_the_key_to_be_put_together(
    caller: Caller, encrypted: str, key: str
) -> None:
    caller.client("s3").create_multipart_upload(Bucket=encrypted, Key="big/a")
    assert {("kms:GenerateDataKey", key), ("kms:Decrypt", key)} <= caller.used()


def test_a_keys_alias_is_noted_as_the_key_and_one_of_aws_not_at_all(
    caller: Caller, bucket: str, key: str
) -> None:
    alias = f"alias/{uuid.uuid4().hex[:12]}"
    caller.aws.client("kms").create_alias(AliasName=alias, TargetKeyId=key)
    encrypt(caller.aws, bucket, "alias/aws/s3")
    caller.client("s3").put_object(Bucket=bucket, Key="in/a", Body=b"1")
    assert caller.used() == in_bucket(bucket, "in/", "PutObject")
    encrypt(caller.aws, bucket, alias)
    caller.client("s3").put_object(Bucket=bucket, Key="in/a", Body=b"1")
    assert ("kms:GenerateDataKey", key) in caller.used()


def test_records_of_an_encrypted_stream_need_its_key(caller: Caller, key: str) -> None:
    kinesis, name = caller.aws.client("kinesis"), unique("stream")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId=key)
    caller.client("kinesis").put_record(StreamName=name, Data=b"1", PartitionKey="1")
    stream = arn("kinesis", f"stream/{name}")
    assert caller.used() == {("kinesis:PutRecord", stream), ("kms:GenerateDataKey", key)}


# Engines


def put_parquet(aws: EmbeddedAws, bucket: str, name: str) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2]}), buffer)
    aws.client("s3").put_object(Bucket=bucket, Key=name, Body=buffer.getvalue())


@pytest.fixture
def lake(aws: EmbeddedAws, encrypted: str) -> tuple[str, str]:
    """A bucket and a database with one partitioned table, whose partitions are not added."""
    put_parquet(aws, encrypted, "lake/events/day=1/a.parquet")
    put_parquet(aws, encrypted, "other/a.parquet")
    database, glue = f"db_{uuid.uuid4().hex[:12]}", aws.client("glue")
    glue.create_database(DatabaseInput={"Name": database})
    kind = "org.apache.hadoop.hive.ql.io.parquet"
    glue.create_table(
        DatabaseName=database,
        TableInput={
            "Name": "events",
            "PartitionKeys": [{"Name": "day", "Type": "int"}],
            "StorageDescriptor": {
                "Columns": [{"Name": "id", "Type": "bigint"}],
                "Location": f"s3://{encrypted}/lake/events/",
                "InputFormat": f"{kind}.MapredParquetInputFormat",
                "SerdeInfo": {"SerializationLibrary": f"{kind}.serde.ParquetHiveSerDe"},
            },
        },
    )
    return encrypted, database


def ask(athena: Any, sql: str, results: dict[str, Any]) -> str:
    query = athena.start_query_execution(QueryString=sql, ResultConfiguration=results)
    identity = query["QueryExecutionId"]

    def state() -> str:
        execution = athena.get_query_execution(QueryExecutionId=identity)["QueryExecution"]
        assert execution["Status"]["State"] != "FAILED", execution["Status"]
        return execution["Status"]["State"]

    wait(lambda: state() == "SUCCEEDED")
    return identity


def test_athena_reads_the_catalog_and_the_lake_as_its_caller(
    caller: Caller, lake: tuple[str, str], key: str
) -> None:
    (bucket, database), athena = lake, caller.client("athena")
    results = unique("results")
    caller.aws.client("s3").create_bucket(Bucket=results)
    other = caller.aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    place = {
        "OutputLocation": f"s3://{results}/athena/",
        "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": other},
    }
    ask(athena, f"MSCK REPAIR TABLE {database}.events", place)
    group = arn("athena", "workgroup/primary")
    repair = {
        ("athena:StartQueryExecution", group),
        ("athena:GetQueryExecution", group),
        ("s3:GetBucketLocation", f"arn:aws:s3:::{results}"),
        *in_bucket(results, "athena/", "PutObject"),
        ("kms:GenerateDataKey", other),
        listing(bucket),
        *on_table("GetTable", database, "events"),
        *on_table("GetPartitions", database, "events"),
        *on_table("BatchCreatePartition", database, "events"),
    }
    assert caller.used() == repair
    identity = ask(athena, f"SELECT count(*) FROM {database}.events", place)
    athena.get_query_results(QueryExecutionId=identity)
    assert caller.used() == repair | {
        ("athena:GetQueryResults", group),
        *in_bucket(bucket, "lake/events/", "GetObject"),
        ("kms:Decrypt", key),
        *in_bucket(results, "athena/", "GetObject"),
        ("kms:Decrypt", other),
    }


def test_two_callers_queries_are_told_apart(
    caller: Caller, aws: EmbeddedAws, lake: tuple[str, str]
) -> None:
    bucket, database = lake
    place, other = {"OutputLocation": f"s3://{bucket}/athena/"}, Caller(aws)
    ask(caller.client("athena"), f"SHOW PARTITIONS {database}.events", place)
    ask(other.client("athena"), "SELECT 1", place)
    assert on_table("GetPartitions", database, "events") <= caller.used()
    assert not any(action.startswith("glue:") for action, _ in other.used())


def test_spectrum_reads_the_lake_under_the_role_of_its_schema(
    caller: Caller, lake: tuple[str, str], key: str
) -> None:
    (bucket, database), name = lake, unique("wh")
    default, role = unique("default"), unique("spectrum")
    serverless, data = caller.aws.client("redshift-serverless"), caller.client("redshift-data")
    serverless.create_namespace(
        namespaceName=name,
        dbName="dev",
        iamRoles=[role_arn(default), role_arn(role)],
        defaultIamRoleArn=role_arn(default),
    )
    group = serverless.create_workgroup(workgroupName=name, namespaceName=name)["workgroup"]
    caller.aws.client("glue").create_partition(
        DatabaseName=database,
        TableName="events",
        PartitionInput={
            "Values": ["1"],
            "StorageDescriptor": {"Location": f"s3://{bucket}/lake/events/day=1/"},
        },
    )

    def run(sql: str) -> None:
        statement = data.execute_statement(WorkgroupName=name, Database="dev", Sql=sql)["Id"]
        end = wait(lambda: data.describe_statement(Id=statement, WaitTimeSeconds=20))
        assert end["Status"] == "FINISHED", end.get("Error")

    run(f"CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE '{database}' "
        f"IAM_ROLE '{role_arn(role)}'")  # fmt: skip
    run("SELECT count(*) FROM lake.events")
    assert used(caller.aws, role) == {
        ("glue:GetDatabase", arn("glue", "catalog")),
        ("glue:GetDatabase", arn("glue", f"database/{database}")),
        *on_table("GetTable", database, "events"),
        *on_table("GetPartitions", database, "events"),
        listing(bucket),
        *in_bucket(bucket, "lake/events/", "GetObject"),
        ("kms:Decrypt", key),
    }
    assert caller.used() == {
        ("redshift-data:ExecuteStatement", group["workgroupArn"]),
        ("redshift-serverless:GetCredentials", group["workgroupArn"]),
        ("redshift-data:DescribeStatement", "*"),
    }
    run("CREATE TABLE copied (id BIGINT)")
    run(f"COPY copied FROM 's3://{bucket}/other/' IAM_ROLE default FORMAT AS PARQUET")
    run(f"UNLOAD ('SELECT id FROM copied') TO 's3://{bucket}/out/x' IAM_ROLE default")
    assert used(caller.aws, default) == {
        listing(bucket),
        *in_bucket(bucket, "other/", "GetObject"),
        ("kms:Decrypt", key),
        *in_bucket(bucket, "out/", "PutObject"),
        ("kms:GenerateDataKey", key),
    }


def test_a_crawler_looks_and_changes_the_catalog_under_its_role(
    aws: EmbeddedAws, lake: tuple[str, str], key: str
) -> None:
    (bucket, database), name, role = lake, unique("crawler"), unique("role")
    glue = aws.client("glue")
    glue.create_crawler(
        Name=name,
        Role=role_arn(role),
        DatabaseName=database,
        Targets={"S3Targets": [{"Path": f"s3://{bucket}/lake/events/"}]},
    )
    glue.start_crawler(Name=name)
    wait(lambda: glue.get_crawler(Name=name)["Crawler"]["State"] == "READY")
    group = arn("logs", "log-group:/aws-glue/crawlers:*")
    # Whoever logs first creates the group.
    assert used(aws, role) - {("logs:CreateLogGroup", group)} == {
        listing(bucket),
        *in_bucket(bucket, "lake/events/", "GetObject"),
        ("kms:Decrypt", key),
        ("glue:GetDatabase", arn("glue", "catalog")),
        ("glue:GetDatabase", arn("glue", f"database/{database}")),
        *on_table("GetTable", database, "events"),
        *on_table("GetTables", database, "*"),  # whether some have lost their folders
        *on_table("GetPartitions", database, "events"),
        *on_table("BatchCreatePartition", database, "events"),
        ("logs:CreateLogStream", group),
        ("logs:PutLogEvents", group),
    }


SCRIPT = """
import sys
import boto3
from pyspark.sql import SparkSession

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
source, target, bucket = given["--source"], given["--target"], given["--bucket"]
spark = SparkSession.builder.getOrCreate()
spark.read.parquet(source).write.mode("append").parquet(target)
boto3.client("s3").put_object(Bucket=bucket, Key="script/done", Body=b"1")
"""


def test_a_job_reads_and_writes_s3_under_its_role(
    aws: EmbeddedAws, encrypted: str, key: str, bucket: str
) -> None:
    target, role, name, s3 = unique("target"), unique("role"), unique("job"), aws.client("s3")
    s3.create_bucket(Bucket=target)
    s3.put_object(Bucket=target, Key="code/job.py", Body=SCRIPT.encode())
    put_parquet(aws, encrypted, "in/day=1/a.parquet")
    put_parquet(aws, encrypted, "unread/a.parquet")
    put_parquet(aws, target, "out/old.parquet")
    glue = aws.client("glue")
    location = f"s3://{target}/code/job.py"
    glue.create_job(
        Name=name, Role=role_arn(role), Command={"Name": "glueetl", "ScriptLocation": location}
    )
    arguments = {
        "--source": f"s3://{encrypted}/in/",
        "--target": f"s3://{target}/out/",
        "--bucket": target,
    }
    run = glue.start_job_run(JobName=name, Arguments=arguments)["JobRunId"]

    def state() -> str:
        found = glue.get_job_run(JobName=name, RunId=run)["JobRun"]
        assert found["JobRunState"] not in ("FAILED", "TIMEOUT"), found["ErrorMessage"]
        return found["JobRunState"]

    wait(lambda: state() == "SUCCEEDED", 90)
    groups = [arn("logs", f"log-group:/aws-glue/jobs/{kind}:*") for kind in ("output", "error")]
    actions = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
    found = used(aws, role)
    assert {use for use in found if use[0].startswith("logs:")} <= {
        (action, group) for action in actions for group in groups
    }
    assert {use for use in found if not use[0].startswith("logs:")} == {
        *in_bucket(target, "code/", "GetObject"),
        listing(encrypted),
        *in_bucket(encrypted, "in/", "GetObject"),
        ("kms:Decrypt", key),
        listing(target),
        # Spark's committer moves what it has written, which on S3 is a copy and a delete.
        *in_bucket(target, "out/", "PutObject", "DeleteObject"),
        *in_bucket(target, "script/", "PutObject"),
    }


def test_firehose_delivers_under_its_role(caller: Caller, encrypted: str, key: str) -> None:
    role, name = unique("role"), unique("stream")
    caller.aws.client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamEncryptionConfigurationInput={
            "KeyType": "CUSTOMER_MANAGED_CMK",
            "KeyARN": key,
        },
        ExtendedS3DestinationConfiguration={
            "RoleARN": role_arn(role),
            "BucketARN": f"arn:aws:s3:::{encrypted}",
            "Prefix": "raw/",
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0},
        },
    )
    caller.client("firehose").put_record(DeliveryStreamName=name, Record={"Data": b"1"})
    wait(lambda: used(caller.aws, role))
    assert used(caller.aws, role) == {
        *in_bucket(encrypted, "raw/", "PutObject"),
        ("kms:GenerateDataKey", key),
    }
    # The stream's own key is Firehose's to use, by a grant.
    stream = arn("firehose", f"deliverystream/{name}")
    assert caller.used() == {("firehose:PutRecord", stream)}


def test_firehose_reads_a_stream_of_kinesis_under_its_role(
    aws: EmbeddedAws, bucket: str, key: str
) -> None:
    kinesis, name, role, reader = (
        aws.client("kinesis"), unique("stream"), unique("role"), unique("reader")
    )  # fmt: skip
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId=key)
    stream = arn("kinesis", f"stream/{name}")
    aws.client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={
            "KinesisStreamARN": stream,
            "RoleARN": role_arn(reader),
        },
        ExtendedS3DestinationConfiguration={
            "RoleARN": role_arn(role),
            "BucketARN": f"arn:aws:s3:::{bucket}",
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0},
        },
    )
    kinesis.put_record(StreamName=name, Data=b"1", PartitionKey="1")
    wait(lambda: used(aws, role))
    actions = ("DescribeStream", "ListShards", "GetShardIterator", "GetRecords")
    assert used(aws, reader) == {
        *((f"kinesis:{action}", stream) for action in actions),
        ("kms:Decrypt", key),
    }
    assert used(aws, role) == in_bucket(bucket, "", "PutObject")


# The command and the state


def command(aws: EmbeddedAws, name: str) -> subprocess.CompletedProcess[str]:
    options = ("--home", str(aws.home), "--port", str(aws.port))
    return subprocess.run(
        [LOCALAWS_PYTHON, "-m", "localaws", *options, name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedAws]:
    with EmbeddedAws(tmp_path / "home") as embedded:
        yield embedded


def test_a_restart_and_a_kill_keep_the_trail_and_a_reset_ends_it(own: EmbeddedAws) -> None:
    client(own, "s3", "somebody").create_bucket(Bucket="kept")
    own.command("stop")
    own.command("start")
    assert used(own, "somebody") == {("s3:CreateBucket", "arn:aws:s3:::kept")}
    client(own, "s3", "somebody").head_bucket(Bucket="kept")
    time.sleep(2)  # it is saved every half second
    own.kill()
    own.command("start")
    client(own, "s3", "somebody").head_bucket(Bucket="kept")
    counts = {call["action"]: call["count"] for call in calls(own)}
    assert counts == {"s3:CreateBucket": 1, "s3:ListBucket": 2}
    own.command("reset")
    own.command("start")
    assert calls(own) == []


def test_the_command_prints_a_table(own: EmbeddedAws) -> None:
    client(own, "s3", "somebody").create_bucket(Bucket="kept")
    done = command(own, "trail")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["principal", "action", "resource", "count"],
        ["somebody", "s3:CreateBucket", "arn:aws:s3:::kept", "1"],
    ]
    own.command("stop")
    done = command(own, "trail")
    assert done.returncode == 1
    sentence = f"localaws: nothing answers on {own.endpoint}; start it first (make aws)\n"
    assert done.stderr == sentence
