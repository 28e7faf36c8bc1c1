from __future__ import annotations

import gzip
import io
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws

END_STATES = ("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT")


class Jobs:
    """Makes jobs out of script texts and waits for their runs."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self.aws, self.glue, self.s3 = aws, aws.client("glue"), aws.client("s3")
        self.bucket = f"scripts-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=self.bucket)

    def create(self, script: str, **settings: Any) -> str:
        name = f"job-{uuid.uuid4().hex[:12]}"
        self.s3.put_object(Bucket=self.bucket, Key=f"{name}.py", Body=script.encode())
        location = f"s3://{self.bucket}/{name}.py"
        self.glue.create_job(
            Name=name,
            Role="arn:aws:iam::000000000000:role/glue",
            Command={"Name": "glueetl", "ScriptLocation": location},
            **settings,
        )
        return name

    def start(self, name: str, **request: Any) -> str:
        return self.glue.start_job_run(JobName=name, **request)["JobRunId"]

    def wait(self, name: str, run_id: str, states: tuple[str, ...] = END_STATES) -> dict[str, Any]:
        deadline = time.monotonic() + 90
        while True:
            run = self.glue.get_job_run(JobName=name, RunId=run_id)["JobRun"]
            if run["JobRunState"] in states:
                return run
            assert time.monotonic() < deadline, run
            time.sleep(0.1)

    def run(self, script: str, arguments: dict[str, str] | None = None, **settings: Any) -> dict:
        name = self.create(script, **settings)
        return self.wait(name, self.start(name, Arguments=arguments or {}))

    def log(self, run: dict[str, Any], kind: str) -> list[str]:
        pages = self.aws.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(
            logGroupName=f"{run['LogGroupName']}/{kind}", logStreamNames=[run["Id"]]
        )
        return [event["message"] for answer in found for event in answer["events"]]

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]


@pytest.fixture(scope="module")
def jobs(aws: EmbeddedAws) -> Jobs:
    return Jobs(aws)


@pytest.fixture(scope="module")
def own_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """Jobs on an embedded AWS that a test may kill."""
    with EmbeddedAws(tmp_path_factory.mktemp("killed")) as embedded:
        yield Jobs(embedded)


def error_of(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**request)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


SPARK_SCRIPT = """
import argparse
from helper import double
from pyspark.sql import SparkSession

parser = argparse.ArgumentParser()
parser.add_argument("--raw-path")
parser.add_argument("--lake-path")
arguments, _ = parser.parse_known_args()
spark = (
    SparkSession.builder
    .config("spark.sql.sources.partitionOverwriteMode", "dynamic")
    .getOrCreate()
)
settings = ("spark.sql.session.timeZone", "spark.sql.shuffle.partitions")
print(*map(spark.conf.get, settings))
raw = spark.read.schema("id INT, day INT").json(arguments.raw_path)
table = raw.withColumn("twice", double("id"))
try:  # a second run reads what it overwrites
    held = spark.read.parquet(arguments.lake_path)
    table = table.unionByName(held.join(raw.select("day"), "day").select(table.columns))
except Exception as error:
    print("nothing there yet:", type(error).__name__)
table.repartition(1).write.mode("overwrite").partitionBy("day").parquet(arguments.lake_path)
"""


def helper_zip() -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "helper.py",
            "from pyspark.sql.functions import col\ndef double(name):\n    return col(name) * 2\n",
        )
    return buffer.getvalue()


def test_a_spark_job_reads_gzip_json_and_rewrites_only_the_partitions_it_touches(
    jobs: Jobs, bucket: str
) -> None:
    def put_lines(key: str, *rows: dict[str, Any]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        jobs.s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(text.encode()))

    def rows() -> list[tuple[str, int, int]]:
        found = []
        for key in jobs.keys(bucket, "lake/t/"):
            body = jobs.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            day = key.split("/")[2]
            found += [
                (day, row["id"], row["twice"])
                for row in pq.read_table(io.BytesIO(body)).to_pylist()
            ]
        return sorted(found)

    jobs.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    jobs.s3.put_object(Bucket=jobs.bucket, Key="helper.zip", Body=helper_zip())
    put_lines("raw/a.json.gz", {"id": 1, "day": 1}, {"id": 2, "day": 2})
    put_lines("raw/deleted.json.gz", {"id": 99, "day": 1})
    jobs.s3.delete_object(Bucket=bucket, Key="raw/deleted.json.gz")
    name = jobs.create(
        SPARK_SCRIPT,
        DefaultArguments={
            "--extra-py-files": f"s3://{jobs.bucket}/helper.zip",
            "--raw-path": f"s3://{bucket}/raw/",
            "--lake-path": "s3://overridden/",
            "--conf": "spark.sql.shuffle.partitions=3 --conf spark.sql.ansi.enabled=false",
        },
    )
    first = jobs.wait(name, jobs.start(name, Arguments={"--lake-path": f"s3a://{bucket}/lake/t/"}))

    assert first["JobRunState"] == "SUCCEEDED", first
    assert rows() == [("day=1", 1, 2), ("day=2", 2, 4)]
    assert jobs.log(first, "output")[0] == "UTC 3"
    assert first["CompletedOn"] >= first["StartedOn"]
    assert first["ExecutionTime"] > 0
    assert first["Arguments"] == {"--lake-path": f"s3a://{bucket}/lake/t/"}
    keys = set(jobs.keys(bucket, "lake/"))
    assert not [key for key in keys if "_temporary" in key or ".crc" in key or "staging" in key]

    day_1 = [key for key in jobs.keys(bucket, "lake/") if "day=1" in key]
    version = jobs.s3.head_object(Bucket=bucket, Key=day_1[0])["VersionId"]
    jobs.s3.delete_object(Bucket=bucket, Key="raw/a.json.gz")
    put_lines("raw/b.json.gz", {"id": 3, "day": 2})
    second = jobs.wait(
        name,
        jobs.start(name, Arguments={"--lake-path": f"s3://{bucket}/lake/t/"}),
    )
    assert second["JobRunState"] == "SUCCEEDED", second
    assert rows() == [("day=1", 1, 2), ("day=2", 2, 4), ("day=2", 3, 6)]
    assert jobs.s3.head_object(Bucket=bucket, Key=day_1[0])["VersionId"] == version
    listed = jobs.s3.list_object_versions(Bucket=bucket, Prefix="lake/t/day=2/")
    assert len(listed["DeleteMarkers"]) == 1  # the rewritten file is still there as a version
    assert not (jobs.aws.home / "glue-runs" / second["Id"]).exists()


def test_a_script_that_raises_fails_with_its_exception_and_keeps_what_it_wrote(
    jobs: Jobs, bucket: str
) -> None:
    run = jobs.run(
        "import boto3, logging, sys\n"
        f"boto3.client('s3').put_object(Bucket='{bucket}', Key='by-boto3', Body=b'x')\n"
        "print('said', sys.argv[1:], end='', flush=True)\n"
        "class OddError(Exception): pass\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('handled')\n"
        "raise OddError('no interval\\nsecond line')\n",
        {"--day": "2026-01-02"},
    )
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"] == "OddError: no interval"
    assert jobs.keys(bucket) == ["by-boto3"]
    said = jobs.log(run, "output")[0]
    assert said.startswith(f"said ['--JOB_NAME', '{run['JobName']}', '--JOB_RUN_ID', '{run['Id']}'")
    assert said.endswith("'--day', '2026-01-02']")
    assert "ZeroDivisionError: division by zero" in jobs.log(run, "error")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.stderr.write('no date\\n'); sys.exit(3)", "SystemExit: 3 (no date)"),
        ("import sys; sys.exit('no date')", "SystemExit: 1 (no date)"),
        (
            "import argparse\nparser = argparse.ArgumentParser(prog='clean')\n"
            "parser.add_argument('--day', required=True)\nparser.parse_known_args()",
            "SystemExit: 2 (clean: error: the following arguments are required: --day)",
        ),
        ("import awsglue", "ModuleNotFoundError: No module named 'awsglue'"),
        ("import os; os.kill(os.getpid(), 9)", "Command failed with exit code 137 (SIGKILL"),
    ],
)
def test_the_error_message_says_what_the_script_died_of(
    jobs: Jobs, script: str, message: str
) -> None:
    run = jobs.run(script)
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"].startswith(message)


def test_a_spark_error_names_its_cause(jobs: Jobs, bucket: str) -> None:
    run = jobs.run(
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        f"spark.range(3).write.parquet('s3://{bucket}/part/')\n"
        f"spark.read.parquet('s3://{bucket}/none/')\n"
    )
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"].startswith(
        f"AnalysisException: [PATH_NOT_FOUND] Path does not exist: s3://{bucket}/none"
    )
    assert "part/_SUCCESS" in jobs.keys(bucket)


def test_what_cannot_be_launched_fails_and_names_the_thing(jobs: Jobs) -> None:
    lost = jobs.create("")
    jobs.s3.delete_object(Bucket=jobs.bucket, Key=f"{lost}.py")
    run = jobs.wait(lost, jobs.start(lost))
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"].startswith(
        f"LAUNCH ERROR | Error downloading from S3 for bucket: {jobs.bucket}, key: {lost}.py"
    )
    assert "Glue 4.0 does not run here" in jobs.run("", GlueVersion="4.0")["ErrorMessage"]
    assert "--conf 'nonsense'" in jobs.run("", {"--conf": "nonsense"})["ErrorMessage"]


def test_a_job_that_sleeps_past_its_timeout_is_killed_with_its_children(
    jobs: Jobs, bucket: str
) -> None:
    glue = boto3.client(
        "glue",
        region_name="us-east-1",
        endpoint_url=jobs.aws.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        # A fraction of a minute, which botocore itself would refuse.
        config=Config(parameter_validation=False),
    )
    name = jobs.create(
        "import boto3, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '100'])\n"
        f"boto3.client('s3').put_object(Bucket='{bucket}', Key=str(child.pid))\n"
        "time.sleep(100)\n"
    )
    run_id = glue.start_job_run(JobName=name, Timeout=0.05)["JobRunId"]
    run = jobs.wait(name, run_id)
    assert run["JobRunState"] == "TIMEOUT"
    assert "timed out" in run["ErrorMessage"]
    (child,) = jobs.keys(bucket)
    assert not is_alive(int(child))


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_at_its_limit_of_runs_refuses_another_until_one_is_stopped(jobs: Jobs) -> None:
    name = jobs.create("import time; print('up', flush=True); time.sleep(100)")
    run_id = jobs.start(name)
    code, message = error_of(jobs.glue.start_job_run, JobName=name)
    assert code == "ConcurrentRunsExceededException"
    assert name in message

    run = jobs.wait(name, run_id, ("RUNNING",))
    while "up" not in jobs.log(run, "output"):  # the log arrives while the job runs
        time.sleep(0.1)
    answer = jobs.glue.batch_stop_job_run(JobName=name, JobRunIds=[run_id, "jr_nobody"])
    assert [item["JobRunId"] for item in answer["SuccessfulSubmissions"]] == [run_id]
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"
    assert jobs.wait(name, run_id)["JobRunState"] == "STOPPED"
    again = jobs.glue.batch_stop_job_run(JobName=name, JobRunIds=[run_id])
    assert "is STOPPED" in again["Errors"][0]["ErrorDetail"]["ErrorMessage"]


def test_a_failed_run_is_repeated_as_often_as_max_retries_says(jobs: Jobs) -> None:
    name = jobs.create("raise SystemExit(4)", MaxRetries=1)
    first = jobs.start(name, Arguments={"--day": "x"})
    assert jobs.wait(name, first)["Attempt"] == 0
    second = jobs.wait(name, f"{first}_attempt_1")
    assert (second["Attempt"], second["PreviousRunId"]) == (1, first)
    assert second["Arguments"] == {"--day": "x"}
    runs = jobs.glue.get_job_runs(JobName=name)["JobRuns"]
    assert [run["Id"] for run in runs] == [second["Id"], first]


def test_runs_are_paged_newest_first(jobs: Jobs) -> None:
    name = jobs.create("", ExecutionProperty={"MaxConcurrentRuns": 3})
    started = [jobs.start(name) for _ in range(3)]
    for run_id in started:
        assert jobs.wait(name, run_id)["JobRunState"] == "SUCCEEDED"
    pages = list(
        jobs.glue.get_paginator("get_job_runs").paginate(
            JobName=name, PaginationConfig={"PageSize": 2}
        )
    )
    assert [len(answer["JobRuns"]) for answer in pages] == [2, 1]
    assert [run["Id"] for answer in pages for run in answer["JobRuns"]] == started[::-1]


def test_a_job_reads_back_as_it_was_defined_with_the_defaults_of_aws(jobs: Jobs) -> None:
    name = jobs.create(
        "",
        WorkerType="G.1X",
        NumberOfWorkers=2,
        DefaultArguments={"--day": "1"},
        NonOverridableArguments={"--fixed": "1"},
        Tags={"team": "clicks"},
    )
    job = jobs.glue.get_job(JobName=name)["Job"]
    assert (job["AllocatedCapacity"], job["MaxCapacity"]) == (2, 2.0)
    assert job["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    assert job["Command"]["PythonVersion"] == "3"
    assert (job["GlueVersion"], job["Timeout"], job["MaxRetries"]) == ("5.1", 480, 0)
    arn = f"arn:aws:glue:us-east-1:000000000000:job/{name}"
    assert jobs.glue.get_tags(ResourceArn=arn)["Tags"] == {"team": "clicks"}
    assert name in jobs.glue.list_jobs(Tags={"team": "clicks"})["JobNames"]
    assert name not in jobs.glue.list_jobs(Tags={"team": "else"})["JobNames"]
    code, _ = error_of(jobs.glue.start_job_run, JobName=name, Arguments={"--fixed": "2"})
    assert code == "InvalidInputException"

    jobs.glue.update_job(
        JobName=name,
        JobUpdate={"Role": "r", "Command": {"ScriptLocation": "s3://b/k.py"}, "Timeout": 5},
    )
    updated = jobs.glue.get_job(JobName=name)["Job"]
    assert updated["Timeout"] == 5
    assert "DefaultArguments" not in updated
    assert updated["CreatedOn"] == job["CreatedOn"]

    jobs.glue.delete_job(JobName=name)
    assert jobs.glue.delete_job(JobName=name)["JobName"] == name  # as often as one likes
    found = jobs.glue.batch_get_jobs(JobNames=[name])
    assert (found["Jobs"], found["JobsNotFound"]) == ([], [name])
    assert jobs.glue.get_tags(ResourceArn=arn)["Tags"] == {}


def test_what_does_not_exist_is_an_entity_not_found(jobs: Jobs) -> None:
    name = jobs.create("")
    for call, request in (
        (jobs.glue.get_job, {"JobName": "nobody"}),
        (jobs.glue.start_job_run, {"JobName": "nobody"}),
        (jobs.glue.get_job_runs, {"JobName": "nobody"}),
        (jobs.glue.get_job_run, {"JobName": name, "RunId": "jr_nobody"}),
    ):
        assert error_of(call, **request)[0] == "EntityNotFoundException"
    assert jobs.glue.get_job_runs(JobName=name)["JobRuns"] == []


def test_a_name_is_taken_once(jobs: Jobs) -> None:
    name = jobs.create("")
    job = {"Name": name, "Role": "r", "Command": {"ScriptLocation": "s3://other/script.py"}}
    assert error_of(jobs.glue.create_job, **job)[0] == "IdempotentParameterMismatchException"


def test_runs_that_a_kill_of_the_embedded_aws_cuts_off_fail_and_can_be_repeated(
    own_jobs: Jobs,
) -> None:
    jobs = own_jobs
    jobs.s3.create_bucket(Bucket="pids")
    name = jobs.create(
        "import boto3, os, sys, time\n"
        "boto3.client('s3').put_object(Bucket='pids', Key=str(os.getpid()))\n"
        "time.sleep(0 if '--quick' in sys.argv else 100)\n"
    )
    run_id = jobs.start(name)
    while not (pids := jobs.keys("pids")):
        time.sleep(0.1)
    jobs.aws.kill()
    jobs.aws.command("start")
    run = jobs.wait(name, run_id)
    assert run["JobRunState"] == "FAILED"
    assert "embedded AWS ended" in run["ErrorMessage"]
    assert not is_alive(int(pids[0]))
    assert list(jobs.aws.home.glob("glue-runs/*")) == []
    again = jobs.start(name, Arguments={"--quick": "true"})
    assert jobs.wait(name, again)["JobRunState"] == "SUCCEEDED"


def test_logs_lie_where_the_job_says_under_the_key_it_names(jobs: Jobs) -> None:
    prefix, key = f"/aws-glue/jobs/{uuid.uuid4().hex[:8]}", "arn:aws:kms:us-east-1:0:key/k"
    jobs.glue.create_security_configuration(
        Name=prefix[-8:],
        EncryptionConfiguration={
            "CloudWatchEncryption": {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": key}
        },
    )
    run = jobs.run(
        "print('hello')",
        {"--custom-logGroup-prefix": prefix},
        SecurityConfiguration=prefix[-8:],
    )
    assert run["LogGroupName"] == prefix
    assert "hello" in jobs.log(run, "output")
    groups = jobs.aws.client("logs").describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]
    assert {group["logGroupName"]: group["kmsKeyId"] for group in groups} == {
        f"{prefix}/error": key,
        f"{prefix}/output": key,
    }


def test_a_security_configuration_that_is_not_there_fails_the_run(jobs: Jobs) -> None:
    run = jobs.run("print('hello')", SecurityConfiguration="nowhere")
    assert run["JobRunState"] == "FAILED"
    assert "Security configuration nowhere not found" in run["ErrorMessage"]


def test_a_run_that_asks_for_metrics_tells_how_long_it_took(jobs: Jobs) -> None:
    name = jobs.create("print('hello')")
    run = jobs.wait(name, jobs.start(name, Arguments={"--enable-metrics": "true"}))
    found = jobs.aws.client("cloudwatch").list_metrics(
        Namespace="Glue", Dimensions=[{"Name": "JobName", "Value": name}]
    )["Metrics"]
    dimensions = [{d["Name"]: d["Value"] for d in metric["Dimensions"]} for metric in found]
    assert {d["JobRunId"] for d in dimensions} == {"ALL", run["Id"]}
    assert {metric["MetricName"] for metric in found} == {"glue.driver.aggregate.elapsedTime"}
