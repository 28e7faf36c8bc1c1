from __future__ import annotations

import io
import json
import string
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, EmbeddedAws

NAMES = json.loads(
    string.Template((ROOT / "plugins" / "clickstream" / "names.json").read_text()).substitute(
        name_prefix="clickstream-dev", account_id="000000000000"
    )
)
BUCKETS = NAMES["buckets"]


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedAws, str]]:
    with EmbeddedAws(tmp_path_factory.mktemp("provisioned")) as embedded:
        yield embedded, embedded.command("provision")


def test_every_name_of_the_file_exists_afterwards(provisioned: tuple[EmbeddedAws, str]) -> None:
    aws, said = provisioned
    found = {item["Name"] for item in aws.client("s3").list_buckets()["Buckets"]}
    assert found == set(BUCKETS.values())
    found = set(aws.client("firehose").list_delivery_streams()["DeliveryStreamNames"])
    assert found == set(NAMES["firehose"].values())
    glue = aws.client("glue")
    assert {item["Name"] for item in glue.get_databases()["DatabaseList"]} == {
        NAMES["glue"]["raw_database"],
        NAMES["glue"]["database"],
    }
    for role in NAMES["roles"].values():
        assert aws.client("iam").get_role(RoleName=role)
    kinesis = aws.client("kinesis").describe_stream_summary(StreamName=NAMES["kinesis_stream"])
    assert kinesis["StreamDescriptionSummary"]["OpenShardCount"] == 2
    group = aws.client("athena").get_work_group(WorkGroup=NAMES["athena"]["workgroup"])
    configuration = group["WorkGroup"]["Configuration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    output = configuration["ResultConfiguration"]["OutputLocation"]
    assert output == f"s3://{BUCKETS['results']}/{NAMES['prefixes']['athena_results']}"
    redshift = aws.client("redshift-serverless")
    workgroup = redshift.get_workgroup(workgroupName=NAMES["redshift"]["workgroup"])["workgroup"]
    assert workgroup["namespaceName"] == NAMES["redshift"]["namespace"]
    assert "S3 buckets: 5 created" in said.splitlines()


def test_raw_keeps_versions_and_every_bucket_is_private(
    provisioned: tuple[EmbeddedAws, str],
) -> None:
    s3 = provisioned[0].client("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKETS["raw"])["Status"] == "Enabled"
    for bucket in BUCKETS.values():
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}
        assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]


def test_firehose_writes_gzip_by_arrival_hour_and_its_errors_elsewhere(
    provisioned: tuple[EmbeddedAws, str],
) -> None:
    firehose = provisioned[0].client("firehose")
    for name in NAMES["firehose"].values():
        described = firehose.describe_delivery_stream(DeliveryStreamName=name)
        destination = described["DeliveryStreamDescription"]["Destinations"][0]
        s3 = destination["ExtendedS3DestinationDescription"]
        assert s3["BucketARN"] == f"arn:aws:s3:::{BUCKETS['raw']}"
        assert s3["CompressionFormat"] == "GZIP"
        assert s3["Prefix"].startswith(NAMES["prefixes"]["raw"] + "year=!{timestamp:yyyy}/")
        assert not s3["ErrorOutputPrefix"].startswith(NAMES["prefixes"]["raw"])


def test_every_table_of_the_sql_folder_is_in_its_catalog(
    provisioned: tuple[EmbeddedAws, str],
) -> None:
    aws, _ = provisioned
    glue = aws.client("glue")
    tables = {
        table["Name"]
        for database in (NAMES["glue"]["raw_database"], NAMES["glue"]["database"])
        for table in glue.get_tables(DatabaseName=database)["TableList"]
    }
    folders = {path.parent.name for path in (ROOT / "sql" / "athena").glob("*/create.sql")}
    assert tables == folders != set()
    warehouse = aws.client("redshift-data").list_tables(
        WorkgroupName=NAMES["redshift"]["workgroup"],
        Database=NAMES["redshift"]["database"],
        SchemaPattern=NAMES["redshift"]["schema"],
    )["Tables"]
    folders = {
        path.parent.name
        for name in ("create", "create_view")
        for path in (ROOT / "sql" / "redshift").glob(f"*/{name}.sql")
    }
    assert {table["name"] for table in warehouse} == folders != set()


def test_provisioning_again_creates_nothing(provisioned: tuple[EmbeddedAws, str]) -> None:
    aws, _ = provisioned
    before = aws.client("glue").get_job(JobName=NAMES["glue"]["clean_job"])["Job"]
    said = aws.command("provision")
    assert "created" not in said
    assert "updated" not in said
    assert "Glue jobs: 4 exist" in said.splitlines()
    assert aws.client("glue").get_job(JobName=NAMES["glue"]["clean_job"])["Job"] == before


def test_the_job_finds_its_scripts_and_a_changed_one_is_uploaded_again(
    provisioned: tuple[EmbeddedAws, str],
) -> None:
    aws, _ = provisioned
    s3 = aws.client("s3")
    job = aws.client("glue").get_job(JobName=NAMES["glue"]["clean_job"])["Job"]

    def read(uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    script = job["Command"]["ScriptLocation"]
    assert read(script) == (ROOT / "glue" / "clean_events.py").read_bytes()
    own, libraries = job["DefaultArguments"]["--extra-py-files"].split(",")
    assert read(libraries)
    with zipfile.ZipFile(io.BytesIO(read(own))) as archive:
        assert set(archive.namelist()) == {
            path.relative_to(ROOT / "glue").as_posix()
            for package in ("clickstream_contract", "clickstream_glue")
            for path in (ROOT / "glue" / package).rglob("*.py")
        }
    bucket, _, key = script.removeprefix("s3://").partition("/")
    s3.put_object(Bucket=bucket, Key=key, Body=b"stale")
    assert ", 1 updated" in aws.command("provision").split("Code: ")[1].splitlines()[0]
    assert read(script) != b"stale"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CLICKSTREAM_NAME_PREFIX", "Not_Valid", "CLICKSTREAM_NAME_PREFIX is 'Not_Valid'"),
        ("CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS", "soon", "CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS"),
        ("CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS", "901", "CLICKSTREAM_FIREHOSE_INTERVAL_SECONDS"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    provisioned: tuple[EmbeddedAws, str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    complaint: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(AssertionError, match=complaint):
        provisioned[0].command("provision")


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("CREATE TABLE {{ names.glue.nobody }}.t (a int)", "nobody"),
        ("CREATE EXTERNAL TABEL t (a int)", r"t/create\.sql: "),
    ],
)
def test_sql_that_cannot_run_fails_and_is_named(
    provisioned: tuple[EmbeddedAws, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sql: str,
    complaint: str,
) -> None:
    (tmp_path / "athena" / "t").mkdir(parents=True)
    (tmp_path / "athena" / "t" / "create.sql").write_text(sql)
    monkeypatch.setenv("CLICKSTREAM_SQL_FOLDER", str(tmp_path))
    with pytest.raises(AssertionError, match=complaint):
        provisioned[0].command("provision")


def test_another_prefix_gives_other_names(
    provisioned: tuple[EmbeddedAws, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, _ = provisioned
    monkeypatch.setenv("CLICKSTREAM_NAME_PREFIX", "clickstream-two")
    aws.command("provision")
    found: list[Any] = aws.client("s3").list_buckets()["Buckets"]
    assert "clickstream-two-raw-000000000000" in {item["Name"] for item in found}
