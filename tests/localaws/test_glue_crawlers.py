from __future__ import annotations

import gzip
import io
import json
import time
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws

INHERIT = {
    "Version": 1.0,
    "CrawlerOutput": {
        "Partitions": {"AddOrUpdateBehavior": "InheritFromTable"},
        "Tables": {"AddOrUpdateBehavior": "MergeNewColumns"},
    },
}


class Crawlers:
    """A bucket, a database, and crawlers over them."""

    def __init__(self, aws: EmbeddedAws, bucket: str) -> None:
        self.glue, self.s3, self.logs = (aws.client(name) for name in ("glue", "s3", "logs"))
        self.bucket, self.database = bucket, f"db_{uuid.uuid4().hex[:12]}"
        self.glue.create_database(DatabaseInput={"Name": self.database})

    def put_parquet(self, key: str, rows: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        pq.write_table(pa.table(rows), buffer)
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=buffer.getvalue())

    def put_json(self, key: str, *rows: Any) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        body = gzip.compress(text.encode()) if key.endswith(".gz") else text.encode()
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def create(self, *paths: str, **settings: Any) -> str:
        name = f"crawler-{uuid.uuid4().hex[:12]}"
        targets = [{"Path": f"s3://{self.bucket}/{path}"} for path in paths]
        settings = {"Targets": {"S3Targets": targets}, "DatabaseName": self.database} | settings
        self.glue.create_crawler(Name=name, Role="glue", **settings)
        return name

    def run(self, name: str, status: str = "SUCCEEDED") -> dict[str, Any]:
        self.glue.start_crawler(Name=name)
        while (crawler := self.glue.get_crawler(Name=name)["Crawler"])["State"] != "READY":
            time.sleep(0.05)
        assert crawler["LastCrawl"]["Status"] == status, crawler["LastCrawl"]
        return self.glue.get_crawler_metrics(CrawlerNameList=[name])["CrawlerMetricsList"][0]

    def fail(self, name: str) -> str:
        self.run(name, "FAILED")
        return self.glue.get_crawler(Name=name)["Crawler"]["LastCrawl"]["ErrorMessage"]

    def table(self, name: str) -> dict[str, Any]:
        return self.glue.get_table(DatabaseName=self.database, Name=name)["Table"]

    def tables(self) -> list[str]:
        found = self.glue.get_tables(DatabaseName=self.database)["TableList"]
        return sorted(table["Name"] for table in found)

    def columns(self, table: str) -> dict[str, str]:
        found = self.table(table)["StorageDescriptor"]["Columns"]
        return {column["Name"]: column["Type"] for column in found}

    def keys(self, table: str) -> dict[str, str]:
        return {key["Name"]: key["Type"] for key in self.table(table)["PartitionKeys"]}

    def partitions(self, table: str) -> dict[tuple[str, ...], str]:
        pages = self.glue.get_paginator("get_partitions").paginate(
            DatabaseName=self.database, TableName=table
        )
        return {
            tuple(item["Values"]): item["StorageDescriptor"]["Location"]
            for answer in pages
            for item in answer["Partitions"]
        }


@pytest.fixture
def crawlers(aws: EmbeddedAws, bucket: str) -> Crawlers:
    return Crawlers(aws, bucket)


def error_of(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return raised.value.response["Error"]["Code"]


def test_parquet_folders_become_tables_with_typed_columns_and_partitions(
    crawlers: Crawlers,
) -> None:
    decimals = pa.array([1], pa.decimal128(18, 4))
    maps = pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))
    times = pa.array([0], pa.timestamp("us", "UTC"))
    lists = pa.array([[0]], pa.list_(pa.timestamp("us")))
    crawlers.put_parquet(
        "lake/fact_clicks/year=2026/hour=1/a.parquet",
        {"event_id": ["x"], "Price": decimals, "metadata": maps, "at": times, "is_bot": [True]},
    )
    crawlers.put_parquet("lake/fact_clicks/year=2026/hour=12/a.parquet", {"event_id": ["y"]})
    crawlers.put_parquet(
        "lake/pipeline_runs/day=2026-01-02/a.parquet", {"hours": lists, "n": [1], "raw": [b"x"]}
    )
    crawlers.s3.put_object(Bucket=crawlers.bucket, Key="lake/fact_clicks/_SUCCESS", Body=b"")
    name = crawlers.create("lake/fact_clicks/", "lake/pipeline_runs")
    metrics = crawlers.run(name)

    assert (metrics["TablesCreated"], metrics["TablesUpdated"]) == (2, 0)
    assert crawlers.tables() == ["fact_clicks", "pipeline_runs"]
    assert crawlers.columns("fact_clicks") == {
        "event_id": "string",
        "price": "decimal(18,4)",
        "metadata": "map<string,string>",
        "at": "timestamp",
        "is_bot": "boolean",
    }
    assert crawlers.keys("fact_clicks") == {"year": "int", "hour": "int"}
    assert crawlers.keys("pipeline_runs") == {"day": "string"}
    assert crawlers.columns("pipeline_runs") == {
        "hours": "array<timestamp>",
        "n": "bigint",
        "raw": "binary",
    }
    root = f"s3://{crawlers.bucket}/lake/fact_clicks/"
    assert crawlers.partitions("fact_clicks") == {
        ("2026", "1"): f"{root}year=2026/hour=1/",
        ("2026", "12"): f"{root}year=2026/hour=12/",
    }
    table = crawlers.table("fact_clicks")
    assert table["StorageDescriptor"]["Location"] == root
    assert "ParquetHiveSerDe" in table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"]
    assert table["Parameters"]["classification"] == "parquet"


def test_a_second_crawl_writes_only_what_changed(crawlers: Crawlers) -> None:
    crawlers.put_parquet("t/day=1/a.parquet", {"b": [1], "a": [1]})
    name = crawlers.create("t/", Configuration=json.dumps(INHERIT))
    crawlers.run(name)
    before = crawlers.table("t")
    metrics = crawlers.run(name)
    assert (metrics["TablesCreated"], metrics["TablesUpdated"]) == (0, 0)
    assert crawlers.table("t") == before

    crawlers.put_parquet("t/day=2/a.parquet", {"a": [1], "new": ["x"], "b": [1]})
    assert crawlers.run(name)["TablesUpdated"] == 1
    assert list(crawlers.columns("t")) == ["b", "a", "new"]
    assert set(crawlers.partitions("t")) == {("1",), ("2",)}
    held = crawlers.glue.get_partition(
        DatabaseName=crawlers.database, TableName="t", PartitionValues=["1"]
    )
    columns = held["Partition"]["StorageDescriptor"]["Columns"]
    assert [column["Name"] for column in columns] == ["b", "a", "new"]


def test_a_table_made_by_hand_keeps_its_types_comments_and_partition_keys(
    crawlers: Crawlers,
) -> None:
    crawlers.put_parquet("t/day=1/a.parquet", {"id": pa.array([1], pa.int32()), "name": ["x"]})
    columns = [{"Name": "id", "Type": "integer", "Comment": "who"}]
    crawlers.glue.create_table(
        DatabaseName=crawlers.database,
        TableInput={
            "Name": "t",
            "StorageDescriptor": {"Columns": columns, "Location": f"s3://{crawlers.bucket}/t"},
            "PartitionKeys": [{"Name": "day", "Type": "string"}],
        },
    )
    name = crawlers.create("t/")
    assert crawlers.run(name)["TablesUpdated"] == 1
    assert crawlers.columns("t") == {"id": "integer", "name": "string"}
    assert crawlers.table("t")["StorageDescriptor"]["Columns"][0]["Comment"] == "who"
    assert crawlers.keys("t") == {"day": "string"}
    assert set(crawlers.partitions("t")) == {("1",)}


def test_the_policy_to_log_leaves_a_table_alone_but_adds_partitions(crawlers: Crawlers) -> None:
    crawlers.put_parquet("t/day=1/a.parquet", {"a": [1]})
    policy = {"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"}
    name = crawlers.create("t/", SchemaChangePolicy=policy)
    crawlers.run(name)
    crawlers.put_parquet("t/day=2/a.parquet", {"a": [1], "new": [1]})
    crawlers.s3.delete_object(Bucket=crawlers.bucket, Key="t/day=1/a.parquet")
    assert crawlers.run(name)["TablesUpdated"] == 0
    assert crawlers.columns("t") == {"a": "bigint"}
    assert set(crawlers.partitions("t")) == {("1",), ("2",)}


def test_what_is_gone_is_removed_when_the_policy_says_so(crawlers: Crawlers) -> None:
    for key in ("t/day=1/a.parquet", "t/day=2/a.parquet", "u/a.parquet"):
        crawlers.put_parquet(key, {"a": [1]})
    policy = {"UpdateBehavior": "UPDATE_IN_DATABASE", "DeleteBehavior": "DELETE_FROM_DATABASE"}
    name = crawlers.create("t/", "u/", SchemaChangePolicy=policy)
    crawlers.run(name)
    for key in ("t/day=1/a.parquet", "u/a.parquet"):
        crawlers.s3.delete_object(Bucket=crawlers.bucket, Key=key)
    assert crawlers.run(name)["TablesDeleted"] == 1
    assert crawlers.tables() == ["t"]
    assert set(crawlers.partitions("t")) == {("2",)}


def test_json_lines_are_typed_by_their_values(crawlers: Crawlers) -> None:
    crawlers.put_json(
        "raw/year=2026/month=01/a.json.gz",
        {"id": 1, "price": 1, "tags": ["a"], "Extra": {"x": 1}, "none": None},
        {"id": 3_000_000_000, "price": 1.5, "Extra": {"y": "z"}, "mixed": 1},
        {"mixed": "text", "ok": True},
    )
    crawlers.s3.put_object(
        Bucket=crawlers.bucket,
        Key="raw/year=2026/month=02/b.json",
        Body=b'{"id": 7}\nnot json\n{"id": 8}\n',
    )
    crawlers.run(crawlers.create("raw", TablePrefix="click_"))
    assert crawlers.columns("click_raw") == {
        "id": "bigint",
        "price": "double",
        "tags": "array<string>",
        "extra": "struct<x:int,y:string>",
        "none": "string",
        "mixed": "string",
        "ok": "boolean",
    }
    table = crawlers.table("click_raw")
    assert table["Parameters"]["classification"] == "json"
    assert table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"].endswith("JsonSerDe")
    assert set(crawlers.partitions("click_raw")) == {("2026", "01"), ("2026", "02")}


def test_folders_are_tables_unless_their_columns_agree(crawlers: Crawlers) -> None:
    crawlers.put_parquet("lake/clicks/day=1/a.parquet", {"a": [1], "b": [1]})
    crawlers.put_parquet("lake/runs/a.parquet", {"x": [1], "y": [1]})
    crawlers.put_parquet("logs/2025/a.parquet", {"a": [1], "b": [1]})
    crawlers.put_parquet("logs/2026/a.parquet", {"a": [1], "b": [1]})
    crawlers.run(crawlers.create("lake/", "logs/"))
    assert crawlers.tables() == ["clicks", "logs", "runs"]
    assert crawlers.keys("logs") == {"partition_0": "int"}
    level = json.dumps({"Version": 1.0, "Grouping": {"TableLevelConfiguration": 3}})
    crawlers.run(crawlers.create("logs/", Configuration=level, TablePrefix="y"))
    assert {"y2025", "y2026"} < set(crawlers.tables())


def test_exclusions_leave_files_out(crawlers: Crawlers) -> None:
    crawlers.put_parquet("t/day=1/a.parquet", {"a": [1]})
    crawlers.s3.put_object(Bucket=crawlers.bucket, Key="t/day=1/notes.txt", Body=b"plain text")
    crawlers.put_parquet("t/old/deep/b.parquet", {"z": [1]})
    path = f"s3://{crawlers.bucket}/t/"
    targets = {"S3Targets": [{"Path": path, "Exclusions": ["**.{txt,md}", "old/**"]}]}
    crawlers.run(crawlers.create(Targets=targets))
    assert crawlers.tables() == ["t"]
    assert crawlers.columns("t") == {"a": "bigint"}


def test_hundreds_of_partitions_are_all_registered(crawlers: Crawlers) -> None:
    for day in range(230):
        crawlers.put_parquet(f"t/day={day}/a.parquet", {"a": [1]})
    crawlers.run(crawlers.create("t/"))
    assert len(crawlers.partitions("t")) == 230


def test_a_target_in_the_catalog_is_updated_in_place(crawlers: Crawlers) -> None:
    crawlers.put_parquet("t/day=1/a.parquet", {"a": [1]})
    crawlers.run(crawlers.create("t/"))
    crawlers.put_parquet("t/day=2/a.parquet", {"a": [1], "b": [1]})
    targets = {"CatalogTargets": [{"DatabaseName": crawlers.database, "Tables": ["t"]}]}
    assert crawlers.run(crawlers.create(Targets=targets))["TablesUpdated"] == 1
    assert crawlers.columns("t") == {"a": "bigint", "b": "bigint"}
    assert set(crawlers.partitions("t")) == {("1",), ("2",)}


def test_a_crawl_that_cannot_be_done_fails_and_names_the_thing(crawlers: Crawlers) -> None:
    crawlers.s3.put_object(Bucket=crawlers.bucket, Key="bad/a.parquet", Body=b"PAR1 torn")
    assert "bad/a.parquet cannot be read" in crawlers.fail(crawlers.create("bad/"))
    crawlers.s3.put_object(Bucket=crawlers.bucket, Key="text/a.txt", Body=b"hello\nworld\n")
    assert "neither Parquet nor JSON" in crawlers.fail(crawlers.create("text/"))
    crawlers.put_parquet("mixed/a.parquet", {"a": [1]})
    crawlers.put_parquet("mixed/day=1/a.parquet", {"a": [1]})
    assert "different partition keys" in crawlers.fail(crawlers.create("mixed/"))
    assert "no-such-db" in crawlers.fail(crawlers.create("mixed/", DatabaseName="no-such-db"))
    lost = {"S3Targets": [{"Path": "s3://no-such-bucket/x/"}]}
    name = crawlers.create(Targets=lost)
    assert "s3://no-such-bucket/x/ does not exist" in crawlers.fail(name)

    last = crawlers.glue.get_crawler(Name=name)["Crawler"]["LastCrawl"]
    events = crawlers.logs.filter_log_events(
        logGroupName=last["LogGroup"], logStreamNames=[last["LogStream"]]
    )["events"]
    assert any("no-such-bucket" in event["message"] for event in events)


def test_a_crawl_over_nothing_succeeds_and_makes_no_table(crawlers: Crawlers) -> None:
    crawlers.run(crawlers.create("nothing/"))
    assert crawlers.tables() == []


def test_a_running_crawler_can_only_be_stopped(crawlers: Crawlers) -> None:
    lines = b'{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}\n' * 10_000
    for day in range(60):  # seconds of work
        crawlers.s3.put_object(Bucket=crawlers.bucket, Key=f"t/day={day}/a.json", Body=lines)
    name = crawlers.create("t/")
    assert error_of(crawlers.glue.stop_crawler, Name=name) == "CrawlerNotRunningException"
    crawlers.glue.start_crawler(Name=name)
    for call in ("start_crawler", "update_crawler", "delete_crawler"):
        assert error_of(getattr(crawlers.glue, call), Name=name) == "CrawlerRunningException"
    crawlers.glue.stop_crawler(Name=name)
    while (crawler := crawlers.glue.get_crawler(Name=name)["Crawler"])["State"] != "READY":
        time.sleep(0.05)
    assert crawler["LastCrawl"]["Status"] == "CANCELLED"
    assert crawlers.tables() == []


def test_a_crawler_reads_back_with_the_defaults_of_aws(crawlers: Crawlers) -> None:
    name = crawlers.create("t/", Tags={"team": "clicks"}, Schedule="cron(0 1 * * ? *)")
    crawler = crawlers.glue.get_crawler(Name=name)["Crawler"]
    assert crawler["State"] == "READY"
    assert crawler["SchemaChangePolicy"]["DeleteBehavior"] == "DEPRECATE_IN_DATABASE"
    assert crawler["RecrawlPolicy"] == {"RecrawlBehavior": "CRAWL_EVERYTHING"}
    assert crawler["LineageConfiguration"] == {"CrawlerLineageSettings": "DISABLE"}
    assert crawler["Schedule"]["ScheduleExpression"] == "cron(0 1 * * ? *)"
    assert "LastCrawl" not in crawler
    assert crawlers.glue.list_crawlers(Tags={"team": "clicks"})["CrawlerNames"][-1] == name
    crawlers.glue.update_crawler(Name=name, Description="new")
    updated = crawlers.glue.get_crawler(Name=name)["Crawler"]
    assert (updated["Description"], updated["Version"]) == ("new", 2)
    assert updated["Targets"] == crawler["Targets"]
    assert error_of(
        crawlers.glue.create_crawler, Name=name, Role="r", Targets=updated["Targets"]
    ) == ("AlreadyExistsException")
    crawlers.glue.delete_crawler(Name=name)
    assert error_of(crawlers.glue.get_crawler, Name=name) == "EntityNotFoundException"
    assert crawlers.glue.batch_get_crawlers(CrawlerNames=[name])["CrawlersNotFound"] == [name]


@pytest.mark.parametrize(
    "settings",
    [
        {"Targets": {"JdbcTargets": [{"Path": "db/%"}]}},
        {"Targets": {}},
        {"Classifiers": ["mine"]},
        {"Configuration": "{"},
    ],
)
def test_what_is_not_crawled_here_is_refused(crawlers: Crawlers, settings: dict) -> None:
    with pytest.raises(ClientError, match="InvalidInputException"):
        crawlers.create("t/", **settings)


def test_crawls_are_paged_newest_first(crawlers: Crawlers) -> None:
    crawlers.put_parquet("t/a.parquet", {"a": [1]})
    name = crawlers.create("t/")
    for _ in range(3):
        crawlers.run(name)
    first = crawlers.glue.list_crawls(CrawlerName=name, MaxResults=2)
    rest = crawlers.glue.list_crawls(CrawlerName=name, MaxResults=2, NextToken=first["NextToken"])
    crawls = first["Crawls"] + rest["Crawls"]
    assert [crawl["State"] for crawl in crawls] == ["COMPLETED"] * 3
    assert [bool(json.loads(crawl["Summary"])) for crawl in crawls] == [False, False, True]
    assert crawls[0]["StartTime"] > crawls[2]["StartTime"]


def test_a_crawlers_logs_lie_under_the_key_of_its_security_configuration(
    crawlers: Crawlers,
) -> None:
    name, key = f"conf-{uuid.uuid4().hex[:8]}", "arn:aws:kms:us-east-1:0:key/k"
    crawlers.glue.create_security_configuration(
        Name=name,
        EncryptionConfiguration={
            "CloudWatchEncryption": {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": key}
        },
    )
    crawlers.put_parquet("sealed/a.parquet", {"a": [1]})
    crawlers.run(crawlers.create("sealed/", CrawlerSecurityConfiguration=name))
    (group,) = crawlers.logs.describe_log_groups(
        logGroupNamePrefix=f"/aws-glue/crawlers-role/glue-{name}"
    )["logGroups"]
    assert group["kmsKeyId"] == key
    failed = crawlers.create("sealed/", CrawlerSecurityConfiguration="nowhere")
    assert "Security configuration nowhere not found" in crawlers.fail(failed)
