"""What Terraform creates on AWS, created here: every resource of the pipeline, by names.json.

The names and the SQL that makes the tables are the pipeline's own files; only what a resource is
like (shards, buffers, time-outs) stands here. All of it may run again: what exists is left as it
is, but for the job, its scripts and the crawler, which follow the checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localaws.live_resources import CURRENCY, LiveResources
from localaws.service import Context

# The pipeline's Config is plain Python and has the one file of names; it is not installed here.
sys.path.append(str(Path(__file__).resolve().parents[1] / "plugins"))
from clickstream.config import Config, ConfigError

from scripts import bundle
from scripts.tables import TablesError, create_tables

KINESIS_SHARDS = 2
#: AWS's usual 60 to 900 s would only make a person at a laptop wait.
FIREHOSE_INTERVAL_SECONDS = 5
FIREHOSE_SIZE_MB = 64
JOB_TIMEOUT_MINUTES = 60
# As in terraform/variables.tf.
SITE_HOSTS = "shop.example"
#: It reads all that there is.
ERASE_TIMEOUT_MINUTES = 24 * 60
ATHENA_CUTOFF_BYTES = 10 << 30
REDSHIFT_BASE_CAPACITY = 8
RAW_DAYS = 90
#: What goes after how many days: a prefix's objects, or ("" stands for all) older versions.
RETENTION = {
    "raw": [("", 30), ("clickstream/", RAW_DAYS)],
    "processed": [("", 7)],
    "artifacts": [("", 90)],
    "results": [("", 1), ("athena/", 30)],
    "errors": [("", 7), ("quarantine/", RAW_DAYS)],
}
TORN_UPLOAD_DAYS = 7
_INTERVAL = "CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS"
_HOURS = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/"
_NOT_FOUND = (
    "404",
    "NoSuchBucket",
    "NoSuchEntity",
    "EntityNotFoundException",
    "ResourceNotFoundException",
    "InvalidRequestException",  # Athena's word for a work group that does not exist
    "NotFound",  # SNS's
    "NotFoundException",
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
)


class ProvisionError(Exception):
    """What could not be created, and why; one sentence."""


def provision(context: Context, environment: Mapping[str, str] = os.environ) -> None:
    """Create what the pipeline needs; prints one line for each kind of resource.

    Args:
        context: the embedded AWS, which runs.
        environment: CLICKSTREAM_NAME_PREFIX and its like (see `Config`), and
            CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS, how long Firehose may hold a record back.

    Raises:
        ProvisionError: something could not be created.
    """
    try:
        names = Config.from_environment(environment)
        interval = environment.get(_INTERVAL) or str(FIREHOSE_INTERVAL_SECONDS)
        if not interval.isdecimal() or int(interval) > 900:
            raise ProvisionError(f"{_INTERVAL} is {interval!r}; it must be from 0 to 900 seconds")
        _Provisioner(context, names, int(interval)).run()
    except (ClientError, ConfigError, TablesError, OSError) as error:
        raise ProvisionError(str(error)) from error


class _Provisioner:
    def __init__(self, context: Context, names: Config, firehose_interval: int) -> None:
        self._context, self._names, self._interval = context, names, firehose_interval
        self._done: Counter[str] = Counter()

    def run(self) -> None:
        live = LiveResources(self._context, self._names, self._ensure)
        for kind, step in (
            ("S3 buckets", self._buckets),
            ("IAM roles", self._roles),
            ("Kinesis streams", self._kinesis),
            ("Firehose streams", self._firehose),
            ("Glue databases", self._databases),
            ("Code", self._code),
            ("Salt", self._salt),
            ("Glue jobs", self._jobs),
            ("Glue crawlers", self._crawler),
            ("Athena work groups", self._athena),
            ("Redshift Serverless", self._redshift),
            ("Tables", self._tables),
            ("SNS topics", live.topics),
            ("SQS queues", live.queues),
            ("DynamoDB tables", live.tables),
            ("Lambda functions", lambda: live.functions(live.api_key())),
            ("Event source mappings", live.stream),
            ("EventBridge rules", live.rules),
            ("API Gateway", live.api),
            ("Permissions to invoke", live.permissions),
        ):
            self._done.clear()
            step()
            counts = ", ".join(f"{count} {word}" for word, count in self._done.items())
            print(f"{kind}: {counts or 'done'}", flush=True)

    def _ensure(self, find: Callable[[], Any], create: Callable[[], Any]) -> Any:
        """Create what is not found; returns what was found."""
        try:
            found = find()
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_FOUND:
                raise
            create()
            self._done["created"] += 1
            return None
        self._done["exist"] += 1
        return found

    def _buckets(self) -> None:
        s3 = self._context.client("s3")
        encryption = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        private = (
            "BlockPublicAcls",
            "IgnorePublicAcls",
            "BlockPublicPolicy",
            "RestrictPublicBuckets",
        )
        for name in vars(self._names.buckets).values():
            self._ensure(
                partial(s3.head_bucket, Bucket=name), partial(s3.create_bucket, Bucket=name)
            )
            s3.put_bucket_encryption(
                Bucket=name, ServerSideEncryptionConfiguration={"Rules": [encryption]}
            )
            s3.put_public_access_block(
                Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(private, True)
            )
        for part, rules in RETENTION.items():
            s3.put_bucket_lifecycle_configuration(
                Bucket=getattr(self._names.buckets, part),
                LifecycleConfiguration={"Rules": [_life_cycle(*rule) for rule in rules]},
            )
        # Raw is what everything else can be made from again.
        s3.put_bucket_versioning(
            Bucket=self._names.buckets.raw, VersioningConfiguration={"Status": "Enabled"}
        )

    def _roles(self) -> None:
        iam = self._context.client("iam")
        account = {"AWS": f"arn:aws:iam::{self._context.account}:root"}
        principals = {"airflow": account, "producer": account}
        principals |= dict.fromkeys(("crawler", "eraser"), _service("glue"))
        principals |= dict.fromkeys(("collector", "stream", "react"), _service("lambda"))
        for actor, name in vars(self._names.roles).items():
            trust = {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": principals.get(actor) or _service(actor),
            }
            document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
            self._ensure(
                partial(iam.get_role, RoleName=name),
                partial(iam.create_role, RoleName=name, AssumeRolePolicyDocument=document),
            )

    def _role(self, name: str) -> str:
        return f"arn:aws:iam::{self._context.account}:role/{name}"

    def _kinesis(self) -> None:
        kinesis, name = self._context.client("kinesis"), self._names.kinesis_stream
        self._ensure(
            partial(kinesis.describe_stream_summary, StreamName=name),
            partial(kinesis.create_stream, StreamName=name, ShardCount=KINESIS_SHARDS),
        )
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})

    def _firehose(self) -> None:
        firehose, names = self._context.client("firehose"), self._names
        role = self._role(names.roles.firehose)
        destination = {
            "RoleARN": role,
            "BucketARN": f"arn:aws:s3:::{names.buckets.raw}",
            "Prefix": names.prefixes.raw + _HOURS,
            # Firehose writes its errors to the same bucket: outside of the table's prefix.
            "ErrorOutputPrefix": names.prefixes.delivery_errors
            + "!{firehose:error-output-type}/"
            + _HOURS,
            "BufferingHints": {"SizeInMBs": FIREHOSE_SIZE_MB, "IntervalInSeconds": self._interval},
            "CompressionFormat": "GZIP",
        }
        stream = self._context.arn("kinesis", f"stream/{names.kinesis_stream}")
        source = {"KinesisStreamARN": stream, "RoleARN": role}
        streams: dict[str, dict[str, Any]] = {
            names.firehose.direct: {"DeliveryStreamType": "DirectPut"},
            names.firehose.from_kinesis: {
                "DeliveryStreamType": "KinesisStreamAsSource",
                "KinesisStreamSourceConfiguration": source,
            },
        }
        for name, kind in streams.items():
            self._ensure(
                partial(firehose.describe_delivery_stream, DeliveryStreamName=name),
                partial(
                    firehose.create_delivery_stream,
                    DeliveryStreamName=name,
                    ExtendedS3DestinationConfiguration=destination,
                    **kind,
                ),
            )

    def _databases(self) -> None:
        glue = self._context.client("glue")
        for name in (self._names.glue.raw_database, self._names.glue.database):
            self._ensure(
                partial(glue.get_database, Name=name),
                partial(glue.create_database, DatabaseInput={"Name": name}),
            )

    def _code(self) -> None:
        s3, bucket = self._context.client("s3"), self._names.buckets.artifacts
        with tempfile.TemporaryDirectory() as folder:
            for path in bundle.build(Path(folder) / "code"):
                key, body = path.as_posix(), (Path(folder) / "code" / path).read_bytes()
                found = self._ensure(
                    partial(s3.head_object, Bucket=bucket, Key=key),
                    partial(s3.put_object, Bucket=bucket, Key=key, Body=body),
                )
                if found and found["ETag"].strip('"') != hashlib.md5(body).hexdigest():
                    s3.put_object(Bucket=bucket, Key=key, Body=body)
                    self._done["updated"] += 1

    def _salt(self) -> None:
        s3, names = self._context.client("s3"), self._names
        place = {"Bucket": names.buckets.artifacts, "Key": f"{names.prefixes.tombstones}salt"}
        # Another salt would void every tombstone: what is there stays.
        body = secrets.token_hex(32).encode()
        self._ensure(partial(s3.head_object, **place), partial(s3.put_object, **place, Body=body))

    def _jobs(self) -> None:
        names = self._names
        buckets, prefixes = names.buckets, names.prefixes
        self._job(
            names.glue.clean_job,
            names.roles.glue,
            "clean_events.py",
            {
                "--raw-path": f"s3://{buckets.raw}/{prefixes.raw}",
                "--lake-path": f"s3://{buckets.processed}/{prefixes.lake}",
                "--quarantine-path": f"s3://{buckets.errors}/{prefixes.quarantine}",
                "--tombstones-path": f"s3://{buckets.artifacts}/{prefixes.tombstones}",
            },
            JOB_TIMEOUT_MINUTES,
        )
        self._job(
            names.glue.model_job,
            names.roles.glue,
            "build_model.py",
            {
                "--lake-path": f"s3://{buckets.processed}/{prefixes.lake}",
                "--site-hosts": SITE_HOSTS,
                "--currency": CURRENCY,
            },
            JOB_TIMEOUT_MINUTES,
        )
        self._job(
            names.glue.compact_job,
            names.roles.glue,
            "compact_lake.py",
            {
                "--lake-path": f"s3://{buckets.processed}/{prefixes.lake}",
                "--quarantine-path": f"s3://{buckets.errors}/{prefixes.quarantine}",
            },
            JOB_TIMEOUT_MINUTES,
        )
        self._job(
            names.glue.erase_job,
            names.roles.eraser,
            "erase_user.py",
            {
                "--buckets": ",".join(f"{p}={b}" for p, b in sorted(vars(buckets).items())),
                "--region": self._context.region,
                "--raw-prefix": prefixes.raw,
                "--delivery-errors-prefix": prefixes.delivery_errors,
                "--tombstones-prefix": prefixes.tombstones,
                "--erasures-prefix": prefixes.erasures,
            },
            ERASE_TIMEOUT_MINUTES,
        )

    def _job(
        self, name: str, role: str, script: str, arguments: dict[str, str], timeout: int
    ) -> None:
        glue, names = self._context.client("glue"), self._names
        scripts = f"s3://{names.buckets.artifacts}/{names.prefixes.scripts}"
        job = {
            "Role": self._role(role),
            "Command": {
                "Name": "glueetl",
                "ScriptLocation": f"{scripts}{script}",
                "PythonVersion": "3",
            },
            "DefaultArguments": {
                "--extra-py-files": f"{scripts}clickstream_glue.zip,{scripts}libraries.zip",
                **arguments,
                "--custom-logGroup-prefix": names.glue.log_group_prefix,
                "--enable-metrics": "true",
            },
            "GlueVersion": "5.1",
            "WorkerType": "G.1X",
            "NumberOfWorkers": 2,
            "ExecutionProperty": {"MaxConcurrentRuns": 1},
            "Timeout": timeout,
        }
        found = self._ensure(
            lambda: glue.get_job(JobName=name)["Job"], partial(glue.create_job, Name=name, **job)
        )
        if found and not job.items() <= found.items():
            glue.update_job(JobName=name, JobUpdate=job)
            self._done["updated"] += 1

    def _crawler(self) -> None:
        glue, names = self._context.client("glue"), self._names
        name = names.glue.crawler
        lake = f"s3://{names.buckets.processed}/{names.prefixes.lake}"
        paths = (
            f"{lake}fact_clicks/",
            f"{lake}pipeline_runs/",
            f"s3://{names.buckets.errors}/{names.prefixes.quarantine}",
        )
        # The tables' SQL says what their columns are: the crawler adds, and never takes away.
        output = {
            "Tables": {"AddOrUpdateBehavior": "MergeNewColumns"},
            "Partitions": {"AddOrUpdateBehavior": "InheritFromTable"},
        }
        crawler = {
            "Role": self._role(names.roles.crawler),
            "DatabaseName": names.glue.database,
            "Targets": {"S3Targets": [{"Path": path} for path in paths]},
            "SchemaChangePolicy": {"UpdateBehavior": "UPDATE_IN_DATABASE", "DeleteBehavior": "LOG"},
            "Configuration": json.dumps({"Version": 1.0, "CrawlerOutput": output}),
        }
        found = self._ensure(
            lambda: glue.get_crawler(Name=name)["Crawler"],
            partial(glue.create_crawler, Name=name, **crawler),
        )
        if found and not crawler.items() <= found.items():
            glue.update_crawler(Name=name, **crawler)
            self._done["updated"] += 1

    def _athena(self) -> None:
        athena, names = self._context.client("athena"), self._names
        results = f"s3://{names.buckets.results}/{names.prefixes.athena_results}"
        self._ensure(
            partial(athena.get_work_group, WorkGroup=names.athena.workgroup),
            partial(
                athena.create_work_group,
                Name=names.athena.workgroup,
                Configuration={
                    "ResultConfiguration": {"OutputLocation": results},
                    "EnforceWorkGroupConfiguration": True,
                    "PublishCloudWatchMetricsEnabled": True,
                    "BytesScannedCutoffPerQuery": ATHENA_CUTOFF_BYTES,
                },
            ),
        )

    def _redshift(self) -> None:
        redshift, names = self._context.client("redshift-serverless"), self._names.redshift
        role = self._role(self._names.roles.redshift)
        self._ensure(
            partial(redshift.get_namespace, namespaceName=names.namespace),
            partial(
                redshift.create_namespace,
                namespaceName=names.namespace,
                dbName=names.database,
                iamRoles=[role],
                defaultIamRoleArn=role,
            ),
        )
        self._ensure(
            partial(redshift.get_workgroup, workgroupName=names.workgroup),
            partial(
                redshift.create_workgroup,
                workgroupName=names.workgroup,
                namespaceName=names.namespace,
                baseCapacity=REDSHIFT_BASE_CAPACITY,
                publiclyAccessible=False,
            ),
        )

    def _tables(self) -> None:
        self._done["SQL files applied"] = create_tables(self._names, self._context.client)


def _life_cycle(prefix: str, days: int) -> dict[str, Any]:
    rule = {
        "ID": f"expire-{prefix.rstrip('/')}" if prefix else "tidy",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": TORN_UPLOAD_DAYS},
    }
    if prefix:
        return {**rule, "Expiration": {"Days": days}}
    return {
        **rule,
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }


def _service(name: str) -> dict[str, str]:
    return {"Service": f"{name}.amazonaws.com"}
