"""Athena of the embedded AWS, asked through boto3 and PyAthena as the pipeline does."""

from __future__ import annotations

import gzip
import io
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import botocore.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from botocore.exceptions import ClientError

HOURS = range(4)
ROWS_PER_HOUR = 10


class Athena:
    """Runs statements in a database of its own."""

    def __init__(self, aws: Any) -> None:
        self.aws = aws
        self.api, self.s3, self.glue = (aws.client(name) for name in ("athena", "s3", "glue"))
        name = uuid.uuid4().hex[:10]
        self.database, self.bucket = f"db_{name}", f"athena-{name}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.results = f"s3://{self.bucket}/results/"
        self.ok(f"CREATE DATABASE {self.database}")

    def start(self, sql: str, **request: Any) -> str:
        request.setdefault("ResultConfiguration", {"OutputLocation": self.results})
        request.setdefault("QueryExecutionContext", {"Database": self.database})
        return self.api.start_query_execution(QueryString=sql, **request)["QueryExecutionId"]

    def wait(self, identity: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            execution = self.api.get_query_execution(QueryExecutionId=identity)["QueryExecution"]
            if execution["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return execution
            time.sleep(0.02)
        raise AssertionError(f"{identity} does not end")

    def run(self, sql: str, **request: Any) -> dict[str, Any]:
        return self.wait(self.start(sql, **request))

    def ok(self, sql: str, **request: Any) -> dict[str, Any]:
        execution = self.run(sql, **request)
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
        return execution

    def rows(self, sql: str, **request: Any) -> list[list[str | None]]:
        return self.page(self.ok(sql, **request)["QueryExecutionId"])[1:]

    def lines(self, sql: str) -> list[str | None]:
        return [row[0] for row in self.page(self.ok(sql)["QueryExecutionId"])]

    def page(self, identity: str) -> list[list[str | None]]:
        answer = self.api.get_query_results(QueryExecutionId=identity)
        return [
            [field.get("VarCharValue") for field in row["Data"]]
            for row in answer["ResultSet"]["Rows"]
        ]

    def reason(self, sql: str, state: str = "FAILED", **request: Any) -> str:
        execution = self.run(sql, **request)
        assert execution["Status"]["State"] == state, execution["Status"]
        return execution["Status"]["StateChangeReason"]

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def put_parquet(self, key: str, **columns: Any) -> None:
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        self.put(key, sink.getvalue())


@pytest.fixture(scope="module")
def athena(aws: Any) -> Athena:
    return Athena(aws)


RAW = """CREATE EXTERNAL TABLE {name} (
  event_id string COMMENT 'it''s the id', n int, price decimal(18,4), seen timestamp,
  metadata map<string,string>, nested struct<a:int,b:array<string>>
)
PARTITIONED BY (year int, month int, day int, hour int)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = '{ignore}')
LOCATION '{location}'"""


@pytest.fixture(scope="module")
def raw(athena: Athena) -> str:
    """A partitioned JSON table: 4 hours of 10 lines, one more line in each is malformed."""
    for hour in HOURS:
        lines = [
            b'{"event_id":"e%d-%d","N":%d,"price":"%d.5","seen":"2026-01-02T03:04:05Z",'
            b'"metadata":{"k":{"z":1}},"nested":{"a":1,"b":["x"]}}' % (hour, n, n, n)
            for n in range(ROWS_PER_HOUR)
        ]
        key = f"raw/year=2026/month=01/day=02/hour={hour:02d}/part.gz"
        athena.put(key, gzip.compress(b"\n".join([*lines, b"{bad"]) + b"\n"))
    athena.put("raw/year=2026/month=01/day=02/hour=00/_SUCCESS", b"not a data file")
    athena.put("raw/notes/readme.json", b"{}")
    athena.ok(RAW.format(name="raw", ignore="true", location=f"s3://{athena.bucket}/raw/"))
    return "raw"


@pytest.fixture(scope="module")
def clicks(athena: Athena, raw: str) -> str:
    """A partitioned Parquet table made by CTAS."""
    athena.ok(f"MSCK REPAIR TABLE {raw}")
    athena.ok(
        f"CREATE TABLE clicks WITH (format = 'PARQUET', partitioned_by = ARRAY['day', 'hour'], "
        f"external_location = 's3://{athena.bucket}/clicks/') AS "
        f"SELECT event_id, n, price, seen, metadata, day, hour FROM {raw} "
        "WHERE event_id IS NOT NULL"
    )
    return "clicks"


# Results


def test_values_are_written_as_athena_writes_them(athena: Athena) -> None:
    execution = athena.ok(
        "SELECT 1 AS a, CAST(NULL AS varchar) AS b, '' AS c, 'x\"y' || chr(10) || 'z' AS d, "
        "1e7 AS e, 0.5e0 AS f, CAST(1.5 AS decimal(10,2)) AS g, DATE '2026-01-02' AS h, "
        "TIMESTAMP '2026-01-02 03:04:05' AS i, ARRAY[1, NULL] AS j, MAP(ARRAY['k'], ARRAY[1]) AS k,"
        " CAST(ROW(1, 'x') AS ROW(p integer, q varchar)) AS l, true AS m, X'6162' AS n, "
        "TIMESTAMP '2026-01-02 03:04:05.120 UTC' AS o, 12345678901 AS p"
    )
    answer = athena.api.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    header, row = athena.page(execution["QueryExecutionId"])
    assert header == list("abcdefghijklmnop")
    assert row == [
        "1", None, "", 'x"y\nz', "1.0E7", "0.5", "1.50", "2026-01-02", "2026-01-02 03:04:05.000",
        "[1, null]", "{k=1}", "{p=1, q=x}", "true", "61 62", "2026-01-02 03:04:05.120 UTC",
        "12345678901",
    ]  # fmt: skip
    columns = answer["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
    assert [column["Type"] for column in columns] == [
        "integer", "varchar", "varchar", "varchar", "double", "double", "decimal", "date",
        "timestamp", "array", "map", "row", "boolean", "varbinary", "timestamp with time zone",
        "bigint",
    ]  # fmt: skip
    assert (columns[6]["Precision"], columns[6]["Scale"]) == (10, 2)


def test_the_result_is_a_csv_in_s3_with_its_metadata(athena: Athena) -> None:
    execution = athena.ok("SELECT 1 AS a, CAST(NULL AS integer) AS b, 'x,\"y\"' AS c")
    location = execution["ResultConfiguration"]["OutputLocation"]
    assert location == f"{athena.results}{execution['QueryExecutionId']}.csv"
    key = location.removeprefix(f"s3://{athena.bucket}/")
    body = athena.s3.get_object(Bucket=athena.bucket, Key=key)["Body"].read()
    assert body == b'"a","b","c"\n"1",,"x,""y"""\n'
    athena.s3.head_object(Bucket=athena.bucket, Key=f"{key}.metadata")


def test_rows_come_in_pages(athena: Athena) -> None:
    execution = athena.ok(
        "SELECT x, 'text' || chr(10) || CAST(x AS varchar) AS y "
        "FROM UNNEST(sequence(1, 2500)) AS t(x) ORDER BY x"
    )
    pages = list(
        athena.api.get_paginator("get_query_results").paginate(
            QueryExecutionId=execution["QueryExecutionId"], PaginationConfig={"PageSize": 1000}
        )
    )
    rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
    assert [len(page["ResultSet"]["Rows"]) for page in pages] == [1000, 1000, 501]
    assert [row[1]["VarCharValue"] for row in rows[1:]] == [f"text\n{x}" for x in range(1, 2501)]


def test_an_empty_result_has_a_header_only(athena: Athena) -> None:
    execution = athena.ok("SELECT 1 AS a WHERE 1 = 2")
    assert athena.page(execution["QueryExecutionId"]) == [["a"]]


def test_results_of_an_unfinished_or_failed_query_are_refused(athena: Athena) -> None:
    execution = athena.run("SELECT nope")
    with pytest.raises(botocore.exceptions.ClientError, match="Final query state: FAILED"):
        athena.page(execution["QueryExecutionId"])


# Trino's SQL


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("CAST(sum(x) AS double) / 4", "1.5"),
        ("round(1e2 * count(*) / sum(count(*)) OVER (), 2) + 1 / 2e0", "100.5"),
        ("date_diff('hour', TIMESTAMP '2026-01-01 00:59:00', TIMESTAMP '2026-01-01 02:00:00')",
         "1"),
        ("date_trunc('month', DATE '2026-01-15')", "2026-01-01"),
        ("DATE '2026-01-31' + INTERVAL '1' DAY", "2026-02-01"),
        ("date_parse('2026-01-02 03', '%Y-%m-%d %H')", "2026-01-02 03:00:00.000"),
        ("date_format(TIMESTAMP '2026-01-02 03:04:05', '%Y-%m-%d %H:%i:%s')",
         "2026-01-02 03:04:05"),
        ("format_datetime(TIMESTAMP '2026-01-02 03:04:05', 'yyyy-MM-dd''T''HH')", "2026-01-02T03"),
        ("from_iso8601_timestamp('2026-01-02T03:04:05+01:00')", "2026-01-02 02:04:05.000 UTC"),
        ("CAST(TIMESTAMP '2026-01-02 03:04:05' AS varchar)", "2026-01-02 03:04:05.000"),
        ("to_unixtime(TIMESTAMP '1970-01-01 00:01:00')", "60.0"),
        ("regexp_like('abc', '^a\\w+$')", "true"),
        ("regexp_extract('abc', '(x)')", None),
        ("regexp_replace('2026-01', '(\\d+)-(\\d+)', '$2/$1')", "01/2026"),
        ("element_at(MAP(ARRAY['a'], ARRAY[1]), 'b')", None),
        ("cardinality(MAP(ARRAY['a'], ARRAY[1]))", "1"),
        ("cardinality(ARRAY[1, 2])", "2"),
        ("json_extract_scalar('{\"a\":{\"b\":\"c\"}}', '$.a.b')", "c"),
        ("json_extract_scalar('{\"a\":{}}', '$.a')", None),
        ("json_extract_scalar('not json', '$.a')", None),
        ("url_extract_host('https://user@ex.com:80/p?q=1')", "ex.com"),
        ("url_extract_parameter('https://ex.com/?a=1&utm=b%20c', 'utm')", "b c"),
        ("split_part('a,b', ',', 3)", None),
        ("array_join(array_agg(x ORDER BY x), '-')", "1-2-3"),
        ("array_distinct(ARRAY[3, 1, 3])", "[3, 1]"),
        ("reduce(ARRAY[1, 2], 0, (s, x) -> s + x, s -> s * 10)", "30"),
        ("map_agg(x, x * 2)[2]", "4"),
        ("map_filter(MAP(ARRAY[1, 2], ARRAY[3, 4]), (k, v) -> v > 3)", "{2=4}"),
        ("any_match(ARRAY[1, 2], x -> x > 1)", "true"),
        ("count_if(x > 1)", "2"),
        ("max_by(x, -x)", "1"),
        ("approx_distinct(x)", "3"),
        ("approx_percentile(x, 0.5)", "2"),
        ("try_cast('x' AS integer)", None),
        ("try(1 / 0)", None),
        ("if(1 > 2, 'a')", None),
        ("format('%s-%d', 'a', 7)", "a-7"),
        ("at_timezone(TIMESTAMP '2026-01-02 03:04:05 UTC', 'America/New_York')",
         "2026-01-01 22:04:05.000"),
        ("'it''s \\n'", "it's \\n"),
    ],
)  # fmt: skip
def test_functions_mean_what_they_mean_in_trino(
    athena: Athena, expression: str, expected: str | None
) -> None:
    aggregates = ("sum(", "agg(", "count_if", "max_by", "approx")
    source = "(VALUES 1, 2, 3)" if any(a in expression for a in aggregates) else "(VALUES 1)"
    assert athena.rows(f"SELECT {expression} FROM {source} AS t(x)") == [[expected]]


def test_arrays_and_maps_unnest(athena: Athena) -> None:
    sql = "SELECT {} FROM (VALUES 1) AS t(i) CROSS JOIN UNNEST({}) {} ORDER BY 1"
    array = sql.format("x, n", "ARRAY['b', 'a']", "WITH ORDINALITY AS u(x, n)")
    assert athena.rows(array) == [["a", "2"], ["b", "1"]]
    assert athena.rows(sql.format("k, v", "MAP(ARRAY['k'], ARRAY[7])", "AS u(k, v)")) == [
        ["k", "7"]
    ]
    both = sql.format("x, y", "ARRAY[1, 2], ARRAY['a']", "AS u(x, y)")
    assert athena.rows(both) == [["1", "a"], ["2", None]]


def test_columns_without_a_name_are_numbered(athena: Athena) -> None:
    execution = athena.ok("SELECT count(*), 1 AS one, max(x) FROM (VALUES 5) AS t(x)")
    assert athena.page(execution["QueryExecutionId"])[0] == ["_col0", "one", "_col2"]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT 1 / 0", "DIVISION_BY_ZERO: Division by zero"),
        ("SELECT CAST('x' AS integer)", "INVALID_CAST_ARGUMENT: Cannot cast 'x' to INT"),
        ("SELECT * FROM nope", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.{db}.nope' "
         "does not exist"),
        ("SELECT\n  nope FROM (VALUES 1) AS t(x)", "COLUMN_NOT_FOUND: line 2:3: Column 'nope'"),
        ("SELECT nofn(1)", "FUNCTION_NOT_FOUND: line 1:8: Function 'nofn' not registered"),
        ("SELECT x, count(*) FROM (VALUES 1) AS t(x)", "EXPRESSION_NOT_AGGREGATE: line 1:8: 'x'"),
        ("SELECT 1 FROM", "SYNTAX_ERROR: line 1:13: mismatched input"),
        ("SELECT 1; SELECT 2", "SYNTAX_ERROR: Only one sql statement"),
        ("SELECT array_sort(ARRAY[1], (a, b) -> 1)", "SYNTAX_ERROR: DuckDB's LIST_SORT"),
        ("SELECT * FROM other.information_schema.tables", "CATALOG_NOT_FOUND: Catalog 'other'"),
        ("SELECT * FROM read_text('/etc/hostname')", "FUNCTION_NOT_FOUND"),
        ("DELETE FROM t", "NOT_SUPPORTED: DELETE is for Iceberg tables"),
        ("SELEC 1", "FAILED: ParseException line 1:0 mismatched input 'SELEC'"),
        ("SHOW FOO", "FAILED: ParseException"),
        ("CREATE TABLE t (a int)", "FAILED: SemanticException: only CREATE EXTERNAL TABLE"),
        ("CREATE EXTERNAL TABLE t (a strin) LOCATION 's3://b/'", "'strin' is not a type"),
        ("CREATE EXTERNAL TABLE t (a int)", "No location was specified for table"),
        ("DROP TABLE nope", "Table not found {db}.nope"),
        ("CREATE DATABASE {db}", "AlreadyExistsException"),
        ("CREATE VIEW v AS SELECT 1", "COLUMN_NAME_NOT_SPECIFIED"),
        ("CREATE TABLE t AS SELECT now() AS a", "NOT_SUPPORTED: Unsupported Hive type: timestamp"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_fails_with_athenas_reason(
    athena: Athena, sql: str, reason: str
) -> None:
    execution = athena.run(sql.format(db=athena.database))
    assert execution["Status"]["State"] == "FAILED"
    assert reason.format(db=athena.database) in execution["Status"]["StateChangeReason"]
    assert execution["Status"]["AthenaError"]["ErrorCategory"] == 2


# Tables of JSON and Parquet


def test_partitions_are_unknown_until_repair_adds_them(athena: Athena) -> None:
    for part in ("year=2026/month=1", "year=2026/month=2", "year=2026/mon=3", "other"):
        athena.put(f"repair/{part}/a.json", b'{"x":1}\n')
    athena.ok(
        "CREATE EXTERNAL TABLE repair (x int) PARTITIONED BY (year int, month int) "
        f"ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' LOCATION 's3://{athena.bucket}/repair/'"
    )
    assert athena.rows("SELECT count(*) FROM repair") == [["0"]]
    assert athena.lines("MSCK REPAIR TABLE repair") == [
        "Partitions not in metastore:\trepair:year=2026/month=1\trepair:year=2026/month=2",
        "Repair: Added partition to metastore repair:year=2026/month=1",
        "Repair: Added partition to metastore repair:year=2026/month=2",
    ]
    assert athena.lines("MSCK REPAIR TABLE repair") == []
    assert athena.lines("SHOW PARTITIONS repair") == ["year=2026/month=1", "year=2026/month=2"]
    assert athena.rows("SELECT count(*) FROM repair") == [["2"]]


def test_repair_names_a_value_with_a_colon_but_leaves_it_out(athena: Athena) -> None:
    athena.put("colon/at=03:00/a.json", b'{"x":1}\n')
    athena.ok(
        "CREATE EXTERNAL TABLE colon (x int) PARTITIONED BY (at string) "
        f"STORED AS TEXTFILE LOCATION 's3://{athena.bucket}/colon/'"
    )
    assert athena.lines("MSCK REPAIR TABLE colon") == [
        "Partitions not in metastore:\tcolon:at=03:00"
    ]
    assert athena.lines("SHOW PARTITIONS colon") == []


def test_deleted_and_replaced_objects_of_a_versioned_bucket_are_not_read(athena: Athena) -> None:
    bucket = f"{athena.bucket}-versioned"
    athena.s3.create_bucket(Bucket=bucket)
    athena.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key, body in (("t/a", b'{"x":1}\n'), ("t/b", b'{"x":2}\n'), ("t/b", b'{"x":3}\n')):
        athena.s3.put_object(Bucket=bucket, Key=key, Body=body)
    athena.s3.delete_object(Bucket=bucket, Key="t/a")
    athena.ok(
        "CREATE EXTERNAL TABLE versioned (x int) ROW FORMAT SERDE "
        f"'org.openx.data.jsonserde.JsonSerDe' LOCATION 's3://{bucket}/t/'"
    )
    assert athena.rows("SELECT x FROM versioned") == [["3"]]


def test_json_lines_are_typed_and_a_malformed_line_is_a_row_of_nulls(
    athena: Athena, raw: str, clicks: str
) -> None:
    assert athena.rows(f"SELECT count(*), count(event_id) FROM {raw}") == [["44", "40"]]
    assert athena.rows(
        f"SELECT event_id, n, price, seen, metadata, nested.b[1], hour FROM {raw} "
        "WHERE hour = 2 AND n = 3"
    ) == [["e2-3", "3", "3.5000", "2026-01-02 03:04:05.000", '{k={"z":1}}', "x", "2"]]


def test_a_malformed_line_fails_the_query_unless_ignored(athena: Athena) -> None:
    location = athena.put("strict/a.json", b'{"event_id":"a"}\n{bad\n').rpartition("/")[0]
    athena.ok(
        RAW.format(name="strict", ignore="false", location=location).replace(
            "PARTITIONED BY (year int, month int, day int, hour int)", ""
        )
    )
    assert athena.reason("SELECT event_id FROM strict").startswith("HIVE_BAD_DATA")


def test_only_the_partitions_asked_for_are_scanned(athena: Athena, raw: str, clicks: str) -> None:
    def scanned(condition: str, source: str = raw) -> int:
        execution = athena.ok(f"SELECT count(event_id) FROM {source} WHERE {condition}")
        return execution["Statistics"]["DataScannedInBytes"]

    full = scanned("true")
    size = {
        hour: athena.s3.head_object(
            Bucket=athena.bucket, Key=f"raw/year=2026/month=01/day=02/hour={hour:02d}/part.gz"
        )["ContentLength"]
        for hour in HOURS
    }
    assert full == sum(size.values())
    assert scanned("hour = 1") == size[1]
    assert scanned("year = 2026 AND hour IN (1, 2) AND n > 3") == size[1] + size[2]
    assert scanned("hour BETWEEN 2 AND 3") == size[2] + size[3]
    assert scanned("hour = 0 OR hour >= 3") == size[0] + size[3]
    assert scanned("hour = 0 OR n = 3") == full
    assert scanned("year = 1999") == 0
    assert scanned("hour = 1", f"(SELECT * FROM {raw}) AS inner_") == size[1]
    assert scanned("hour = 1", f"{raw} AS r") == size[1]
    assert athena.rows(
        f"WITH c AS (SELECT hour AS h, n FROM {raw}) SELECT sum(n) FROM c WHERE h = 1"
    ) == [["45"]]


def test_an_outer_join_does_not_lose_rows_to_pruning(athena: Athena, clicks: str) -> None:
    sql = (
        "SELECT count(*) FROM (VALUES 1, 9) AS v(h) LEFT JOIN (SELECT DISTINCT hour FROM clicks) "
        "AS c ON v.h = c.hour WHERE c.hour IS NULL"
    )
    assert athena.rows(sql) == [["1"]]
    sql = "SELECT count(*) FROM (VALUES 1, 9) AS v(h) LEFT JOIN clicks ON h = hour WHERE {}"
    assert athena.rows(sql.format("hour IS NULL")) == [["1"]]
    assert athena.rows(sql.format("hour = 1 OR hour IS NULL")) == [["11"]]
    assert athena.rows(
        "SELECT count(*) FROM clicks RIGHT JOIN (VALUES 1, 9) AS v(h) ON h = hour "
        "WHERE hour IS NULL"
    ) == [["1"]]


def test_parquet_scans_only_the_columns_it_needs(athena: Athena, clicks: str) -> None:
    def scanned(sql: str) -> int:
        return athena.ok(sql)["Statistics"]["DataScannedInBytes"]

    everything = scanned(f"SELECT * FROM {clicks}")
    assert 0 < scanned(f"SELECT sum(n) FROM {clicks}") < everything
    assert scanned(f"SELECT count(*) FROM {clicks}") == 0
    assert scanned(f"SELECT hour, count(*) FROM {clicks} GROUP BY hour") == 0
    assert athena.rows(f"SELECT sum(n), sum(price) FROM {clicks} WHERE hour = 1") == [
        ["45", "50.0000"]
    ]


def test_a_missing_parquet_column_is_null_and_a_wrong_type_fails(athena: Athena) -> None:
    athena.put_parquet("types/part=1/a.parquet", N=pa.array([1, 2], pa.int32()))
    athena.put_parquet("types/part=2/b.parquet", n=pa.array(["x"]))
    athena.ok(
        "CREATE EXTERNAL TABLE types (n bigint, more struct<a:int>) PARTITIONED BY (part string) "
        f"STORED AS PARQUET LOCATION 's3://{athena.bucket}/types/'"
    )
    athena.ok("MSCK REPAIR TABLE types")
    assert athena.rows("SELECT n, more FROM types WHERE part = '1'") == [["1", None], ["2", None]]
    reason = athena.reason("SELECT n FROM types")
    assert reason.startswith("HIVE_BAD_DATA: Field n's type STRING in parquet file s3://")
    assert "incompatible with type bigint defined in table schema" in reason


def test_a_partition_with_another_schema_fails(athena: Athena, clicks: str) -> None:
    table = athena.glue.get_table(DatabaseName=athena.database, Name=clicks)["Table"]
    storage = table["StorageDescriptor"]
    other = [{"Name": "n", "Type": "string"}]
    athena.glue.create_partition(
        DatabaseName=athena.database,
        TableName=clicks,
        PartitionInput={"Values": ["9", "9"], "StorageDescriptor": storage | {"Columns": other}},
    )
    try:
        reason = athena.reason(f"SELECT sum(n) FROM {clicks}")
        assert reason.startswith("HIVE_PARTITION_SCHEMA_MISMATCH")
        assert "partition 'day=9/hour=9' declared column 'n' as type 'string'" in reason
    finally:
        athena.glue.delete_partition(
            DatabaseName=athena.database, TableName=clicks, PartitionValues=["9", "9"]
        )


def test_a_file_that_is_not_parquet_fails(athena: Athena) -> None:
    athena.put("garbage/a.parquet", b"not parquet at all")
    athena.ok(
        "CREATE EXTERNAL TABLE garbage (n int) STORED AS PARQUET "
        f"LOCATION 's3://{athena.bucket}/garbage/'"
    )
    assert athena.reason("SELECT * FROM garbage").startswith("HIVE_BAD_DATA: Not valid Parquet")


def test_csv_tables_are_read(athena: Athena) -> None:
    athena.put("csv/a.csv", b'id,name\n1,"a,b"\n2,\n')
    athena.ok(
        "CREATE EXTERNAL TABLE csv_table (id int, name string) "
        "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde' "
        f"LOCATION 's3://{athena.bucket}/csv/' TBLPROPERTIES ('skip.header.line.count' = '1')"
    )
    assert athena.rows("SELECT id, name FROM csv_table ORDER BY id")[0] == ["1", "a,b"]


# DDL


def test_partitions_are_added_anywhere_and_dropped(athena: Athena, raw: str) -> None:
    elsewhere = f"s3://{athena.bucket}/raw/year=2026/month=01/day=02/hour=03/"
    add = f"PARTITION (year=2027, month=1, day=1, hour=5) LOCATION '{elsewhere}'"
    athena.ok(f"ALTER TABLE {raw} ADD {add}")
    assert "AlreadyExistsException" in athena.reason(f"ALTER TABLE {raw} ADD {add}")
    athena.ok(f"ALTER TABLE {raw} ADD IF NOT EXISTS {add}")
    assert athena.rows(f"SELECT count(*), min(hour) FROM {raw} WHERE year = 2027") == [["11", "5"]]
    athena.ok(f"ALTER TABLE {raw} DROP PARTITION (year > 2026)")
    assert athena.rows(f"SELECT count(*) FROM {raw} WHERE year = 2027") == [["0"]]
    assert "Partition not found" in athena.reason(f"ALTER TABLE {raw} DROP PARTITION (year = 2027)")
    athena.ok(f"ALTER TABLE {raw} DROP IF EXISTS PARTITION (year = 2027)")


def test_tables_are_shown_and_described(athena: Athena, raw: str) -> None:
    assert raw in athena.lines("SHOW TABLES")
    assert athena.lines("SHOW TABLES 'ra*'") == [raw]
    assert athena.database in athena.lines("SHOW DATABASES")
    assert athena.lines(f"SHOW COLUMNS IN {raw}")[-2:] == ["day", "hour"]
    described = athena.lines(f"DESCRIBE {raw}")
    assert described[0] == f"{'event_id':<20}\t{'string':<20}\t{chr(105)}t's the id         "
    assert "# Partition Information\t \t " in described
    shown = "\n".join(str(line) for line in athena.lines(f"SHOW CREATE TABLE {raw}"))
    athena.ok(f"DROP TABLE IF EXISTS {athena.database}.copy")
    athena.ok(shown.replace(f"`{athena.database}.{raw}`", "`copy`"))
    assert athena.lines("DESCRIBE copy") == described
    athena.ok("DROP TABLE copy")
    assert athena.lines(f"SHOW TBLPROPERTIES {raw} ('EXTERNAL')") == ["EXTERNAL\tTRUE"]


def test_columns_are_added(athena: Athena, clicks: str) -> None:
    athena.ok(f"CREATE EXTERNAL TABLE wider (event_id string) STORED AS PARQUET LOCATION "
              f"'s3://{athena.bucket}/clicks/day=2/hour=1/'")  # fmt: skip
    athena.ok("ALTER TABLE wider ADD COLUMNS (n int, absent string)")
    assert athena.rows("SELECT sum(n), count(absent) FROM wider") == [["45", "0"]]


def test_information_schema_lists_tables_and_columns(athena: Athena, raw: str) -> None:
    where = f"WHERE table_schema = '{athena.database}' AND table_name = '{raw}'"
    assert athena.rows(f"SELECT table_type FROM information_schema.tables {where}") == [
        ["BASE TABLE"]
    ]
    assert athena.rows(
        f"SELECT column_name, data_type FROM information_schema.columns {where} "
        "AND ordinal_position > 4 ORDER BY ordinal_position"
    )[:3] == [
        ["metadata", "map(varchar, varchar)"],
        ["nested", "row(a integer, b array(varchar))"],
        ["year", "integer"],
    ]


def test_views_are_kept_in_the_catalog_and_pruned_through(athena: Athena, clicks: str) -> None:
    athena.ok(f"CREATE VIEW hourly AS SELECT hour AS h, n FROM {clicks} WHERE n > 0")
    reason = athena.reason(f"CREATE VIEW hourly AS SELECT hour FROM {clicks}")
    assert reason.startswith("TABLE_ALREADY_EXISTS")
    full = athena.ok("SELECT sum(n) FROM hourly")["Statistics"]["DataScannedInBytes"]
    one = athena.ok("SELECT sum(n) FROM hourly WHERE h = 1")["Statistics"]["DataScannedInBytes"]
    assert 0 < one < full
    athena.ok(f"CREATE OR REPLACE VIEW hourly AS SELECT count(*) AS c FROM {clicks}")
    assert athena.rows(
        f"SELECT c FROM {athena.database}.hourly", QueryExecutionContext={"Database": "default"}
    ) == [["40"]]
    assert athena.lines("SHOW VIEWS") == ["hourly"]
    athena.ok("DROP VIEW hourly")
    assert athena.reason("SELECT * FROM hourly").startswith("TABLE_NOT_FOUND")


def test_a_database_with_tables_is_dropped_with_cascade_only(athena: Athena) -> None:
    name = f"{athena.database}_two"
    athena.ok(f"CREATE SCHEMA IF NOT EXISTS {name}")
    athena.ok(f"CREATE EXTERNAL TABLE {name}.t (a int) LOCATION 's3://{athena.bucket}/none/'")
    assert "is not empty" in athena.reason(f"DROP DATABASE {name}")
    athena.ok(f"DROP DATABASE {name} CASCADE")
    assert name not in athena.lines("SHOW DATABASES")
    athena.ok(f"DROP DATABASE IF EXISTS {name}")


# Statements that write


def test_inserted_rows_land_in_their_partitions(athena: Athena) -> None:
    athena.ok(
        "CREATE EXTERNAL TABLE target (id string, n bigint) PARTITIONED BY (day string, hour int) "
        f"STORED AS PARQUET LOCATION 's3://{athena.bucket}/target/'"
    )
    execution = athena.ok("INSERT INTO target VALUES ('a', 1, '2026-01-02', 3), ('b', 2, 'x y', 4)")
    answer = athena.api.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    assert (answer["UpdateCount"], answer["ResultSet"]["Rows"]) == (2, [])
    athena.ok("INSERT INTO target (id, day, hour) SELECT 'c', '2026-01-02', NULL")
    assert athena.rows("SELECT id, n, day, hour FROM target ORDER BY id") == [
        ["a", "1", "2026-01-02", "3"],
        ["b", "2", "x y", "4"],
        ["c", None, "2026-01-02", None],
    ]
    assert "day=2026-01-02/hour=3" in athena.lines("SHOW PARTITIONS target")
    bucket, _, key = execution["Statistics"]["DataManifestLocation"][5:].partition("/")
    manifest = athena.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().split()
    assert [line.rpartition("/")[0] for line in manifest] == [
        f"s3://{athena.bucket}/target/day=2026-01-02/hour=3",
        f"s3://{athena.bucket}/target/day=x%20y/hour=4",
    ]
    assert athena.reason("INSERT INTO target SELECT 1").startswith("MISMATCHED_COLUMN_COUNT")


def test_a_table_made_from_nothing_is_empty_and_typed(athena: Athena) -> None:
    athena.ok("CREATE TABLE empty AS SELECT 1 AS a, 'x' AS b, ARRAY[1.5e0] AS c WHERE 1 = 2")
    assert athena.rows("SELECT * FROM empty") == []
    assert [str(line).split()[1] for line in athena.lines("DESCRIBE empty")] == [
        "int", "string", "array<double>",
    ]  # fmt: skip
    assert athena.reason("CREATE TABLE empty AS SELECT 1 AS a").startswith("TABLE_ALREADY_EXISTS")
    athena.ok("CREATE TABLE IF NOT EXISTS empty AS SELECT 1 AS a")


def test_a_failed_ctas_leaves_no_table(athena: Athena) -> None:
    assert athena.reason("CREATE TABLE never AS SELECT 1 / (x - 1) AS a FROM (VALUES 1) AS t(x)")
    assert "never" not in athena.lines("SHOW TABLES")


def test_json_and_text_tables_written_by_ctas_are_read_back(athena: Athena) -> None:
    for name in ("JSON", "TEXTFILE"):
        athena.ok(
            f"CREATE TABLE made_{name} WITH (format = '{name}', write_compression = 'GZIP') AS "
            "SELECT 1 AS a, 'x' AS b, CAST(NULL AS varchar) AS c"
        )
        assert athena.rows(f"SELECT a, b FROM made_{name}") == [["1", "x"]]


def test_unload_writes_files_and_refuses_a_place_that_is_not_empty(athena: Athena) -> None:
    sql = (
        f"UNLOAD (SELECT ')' AS a, 2 AS p) TO 's3://{athena.bucket}/unload/' "
        "WITH (format = 'PARQUET', partitioned_by = ARRAY['p'])"
    )
    athena.ok(sql)
    (item,) = athena.s3.list_objects_v2(Bucket=athena.bucket, Prefix="unload/")["Contents"]
    assert item["Key"].startswith("unload/p=2/")
    body = athena.s3.get_object(Bucket=athena.bucket, Key=item["Key"])["Body"].read()
    assert pq.read_table(io.BytesIO(body)).to_pydict() == {"a": [")"]}
    assert athena.reason(sql).startswith("HIVE_PATH_ALREADY_EXISTS")


def test_parameters_and_prepared_statements(athena: Athena) -> None:
    sql = "SELECT y FROM (VALUES (1, 'a'), (2, 'b')) AS t(x, y) WHERE x >= ? AND y = ?"
    assert athena.rows(sql, ExecutionParameters=["1", "'b'"]) == [["b"]]
    assert athena.rows(sql, ExecutionParameters=["2", "b; DROP TABLE x"]) == []
    assert "expected 2 but found 1" in athena.reason(sql, ExecutionParameters=["1"])
    athena.ok(f"PREPARE find FROM {sql}")
    assert athena.rows("EXECUTE find USING 1, 'a'") == [["a"]]
    athena.ok("DEALLOCATE PREPARE find")
    assert athena.reason("EXECUTE find USING 1, 'a'").startswith("PREPARED_STATEMENT_NOT_FOUND")


# Executions


def test_the_same_token_gives_the_same_execution(athena: Athena) -> None:
    token = str(uuid.uuid4())
    first = athena.start("SELECT 1", ClientRequestToken=token)
    assert athena.start("SELECT 1", ClientRequestToken=token) == first
    with pytest.raises(botocore.exceptions.ClientError, match="Idempotent parameters do not match"):
        athena.start("SELECT 2", ClientRequestToken=token)


SLOW = "SELECT count(*) FROM UNNEST(sequence(1, 100000)) AS a(x) CROSS JOIN UNNEST(sequence(1, 100000)) AS b(y) WHERE x * y % 7 = 3"  # noqa: E501


def test_a_running_and_a_waiting_query_can_be_stopped(athena: Athena) -> None:
    slow = [athena.start(SLOW) for _ in range(5)]
    running, waiting = slow[0], slow[-1]
    assert athena.api.get_query_execution(QueryExecutionId=waiting)["QueryExecution"]["Status"][
        "State"
    ] in ("QUEUED", "RUNNING")
    for identity in reversed(slow):
        athena.api.stop_query_execution(QueryExecutionId=identity)
    for identity in (running, waiting):
        status = athena.wait(identity)["Status"]
        assert (status["State"], status["StateChangeReason"]) == (
            "CANCELLED",
            "Query cancelled by user",
        )


@pytest.fixture
def group(athena: Athena) -> Iterator[str]:
    name = f"group-{uuid.uuid4().hex[:8]}"
    athena.api.create_work_group(
        Name=name,
        Configuration={
            "ResultConfiguration": {"OutputLocation": f"s3://{athena.bucket}/{name}/"},
            "EnforceWorkGroupConfiguration": True,
            "BytesScannedCutoffPerQuery": 10_000_000,
        },
        Tags=[{"Key": "team", "Value": "data"}],
    )
    yield name
    athena.api.delete_work_group(WorkGroup=name, RecursiveDeleteOption=True)


def test_a_work_group_enforces_its_place_for_results(athena: Athena, group: str) -> None:
    execution = athena.ok("SELECT 1", WorkGroup=group)
    location = execution["ResultConfiguration"]["OutputLocation"]
    assert location.startswith(f"s3://{athena.bucket}/{group}/")
    listed = athena.api.list_query_executions(WorkGroup=group)["QueryExecutionIds"]
    assert listed == [execution["QueryExecutionId"]]


def test_a_query_over_the_cut_off_is_cancelled(
    athena: Athena, group: str, raw: str, clicks: str
) -> None:
    athena.ok(f"SELECT * FROM {raw}", WorkGroup=group)
    athena.put(
        "wide/a.json",
        b"\n".join(b'{"text":"%s"}' % (b"x" * 1000) for _ in range(10_100)),
    )
    athena.ok(
        "CREATE EXTERNAL TABLE wide (text string) ROW FORMAT SERDE "
        f"'org.openx.data.jsonserde.JsonSerDe' LOCATION 's3://{athena.bucket}/wide/'"
    )
    reason = athena.reason("SELECT count(*) FROM wide", state="CANCELLED", WorkGroup=group)
    assert reason.startswith("Bytes scanned limit was exceeded")


def test_work_groups_and_their_tags(athena: Athena, group: str) -> None:
    arn = f"arn:aws:athena:us-east-1:000000000000:workgroup/{group}"
    athena.api.tag_resource(ResourceARN=arn, Tags=[{"Key": "cost", "Value": "1"}])
    athena.api.untag_resource(ResourceARN=arn, TagKeys=["team"])
    tags = athena.api.list_tags_for_resource(ResourceARN=arn)["Tags"]
    assert tags == [{"Key": "cost", "Value": "1"}]
    athena.api.update_work_group(WorkGroup=group, State="DISABLED", Description="off")
    found = athena.api.get_work_group(WorkGroup=group)["WorkGroup"]
    assert (found["State"], found["Description"]) == ("DISABLED", "off")
    with pytest.raises(botocore.exceptions.ClientError, match="is disabled"):
        athena.start("SELECT 1", WorkGroup=group)
    first = athena.api.list_work_groups(MaxResults=1)
    rest = athena.api.list_work_groups(NextToken=first["NextToken"])["WorkGroups"]
    assert group in [item["Name"] for item in rest]
    with pytest.raises(botocore.exceptions.ClientError, match="is not found"):
        athena.api.get_work_group(WorkGroup="nope")
    with pytest.raises(botocore.exceptions.ClientError, match="No output location provided"):
        athena.start("SELECT 1", ResultConfiguration={})


def test_named_queries_are_saved_listed_and_deleted(athena: Athena, group: str) -> None:
    made = [
        athena.api.create_named_query(
            Name=f"q{n}", Database="d", QueryString=f"SELECT {n}", WorkGroup=group
        )["NamedQueryId"]
        for n in range(3)
    ]
    first = athena.api.list_named_queries(WorkGroup=group, MaxResults=2)
    assert first["NamedQueryIds"] == made[:2]
    rest = athena.api.list_named_queries(WorkGroup=group, NextToken=first["NextToken"])
    assert (rest["NamedQueryIds"], rest.get("NextToken")) == (made[2:], None)
    query = athena.api.get_named_query(NamedQueryId=made[1])["NamedQuery"]
    assert (query["Name"], query["QueryString"]) == ("q1", "SELECT 1")
    athena.api.delete_named_query(NamedQueryId=made[1])
    answer = athena.api.batch_get_named_query(NamedQueryIds=made)
    assert [query["Name"] for query in answer["NamedQueries"]] == ["q0", "q2"]
    assert answer["UnprocessedNamedQueryIds"][0]["NamedQueryId"] == made[1]


def test_executions_are_fetched_together(athena: Athena) -> None:
    identity = athena.ok("SELECT 1")["QueryExecutionId"]
    missing = str(uuid.uuid4())
    answer = athena.api.batch_get_query_execution(QueryExecutionIds=[identity, missing])
    assert [item["QueryExecutionId"] for item in answer["QueryExecutions"]] == [identity]
    assert answer["UnprocessedQueryExecutionIds"][0]["QueryExecutionId"] == missing
    with pytest.raises(botocore.exceptions.ClientError, match="was not found"):
        athena.api.get_query_execution(QueryExecutionId=missing)


def test_the_catalog_answers_metadata(athena: Athena, raw: str) -> None:
    names = {"CatalogName": "AwsDataCatalog", "DatabaseName": athena.database}
    table = athena.api.get_table_metadata(**names, TableName=raw.upper())["TableMetadata"]
    assert table["Columns"][0] == {"Name": "event_id", "Type": "string", "Comment": "it's the id"}
    assert [key["Name"] for key in table["PartitionKeys"]] == ["year", "month", "day", "hour"]
    pages = athena.api.get_paginator("list_table_metadata").paginate(
        **names, PaginationConfig={"PageSize": 1}
    )
    assert raw in [t["Name"] for page in pages for t in page["TableMetadataList"]]
    databases = athena.api.list_databases(CatalogName="AwsDataCatalog")["DatabaseList"]
    assert athena.database in [database["Name"] for database in databases]
    with pytest.raises(botocore.exceptions.ClientError, match="MetadataException"):
        athena.api.get_table_metadata(**names, TableName="nope")


def test_executions_and_results_survive_a_kill_and_unfinished_ones_fail(
    tmp_path_factory: pytest.TempPathFactory, aws: Any
) -> None:
    own = type(aws)(tmp_path_factory.mktemp("athena"))
    own.command("start")
    try:
        athena = Athena(own)
        done = athena.ok("SELECT 42 AS a")["QueryExecutionId"]
        unfinished = athena.start(SLOW)
        own.kill()
        time.sleep(0.2)
        own.command("start")
        assert athena.page(done) == [["a"], ["42"]]
        status = athena.wait(unfinished)["Status"]
        assert status["State"] == "FAILED"
        assert "restarted" in status["StateChangeReason"]
        assert athena.rows("SELECT 1") == [["1"]]
    finally:
        own.command("stop")


# Clients


@pytest.fixture
def url(athena: Athena) -> str:
    return (
        f"awsathena+rest://test:test@athena.us-east-1.amazonaws.com:443/{athena.database}"
        f"?s3_staging_dir={quote_plus(athena.results)}"
        f"&endpoint_url={quote_plus(athena.aws.endpoint)}&poll_interval=0.02"
    )


def test_sqlalchemy_reads_tables_columns_and_rows(athena: Athena, url: str, clicks: str) -> None:
    engine = sqlalchemy.create_engine(url)
    inspector = sqlalchemy.inspect(engine)
    assert inspector.has_table(clicks)
    assert not inspector.has_table("nope")
    columns = {column["name"]: str(column["type"]) for column in inspector.get_columns(clicks)}
    assert columns["price"] == "DECIMAL(18, 4)"
    with engine.connect() as connection:
        rows = connection.execute(
            sqlalchemy.text(f"SELECT hour, sum(n), max(seen) FROM {clicks} GROUP BY 1 ORDER BY 1")
        ).fetchall()
    assert [row[1] for row in rows] == [45, 45, 45, 45]
    assert rows[0][2].year == 2026


def test_great_expectations_checks_a_table_and_a_query(url: str, clicks: str) -> None:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_sql("athena", connection_string=url, create_temp_table=False)
    suite = gx.ExpectationSuite(
        name="clicks",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(min_value=10, max_value=40),
            gxe.ExpectColumnValuesToNotBeNull(column="event_id"),
            gxe.ExpectColumnValuesToBeUnique(column="event_id"),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["event_id", "seen"]),
            gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0, max_value=10),
            gxe.ExpectColumnDistinctValuesToBeInSet(column="hour", value_set=[0, 1, 2, 3]),
            gxe.ExpectColumnMeanToBeBetween(column="n", min_value=4, max_value=5),
            gxe.ExpectTableColumnsToMatchSet(column_set=["n", "hour"], exact_match=False),
            gxe.UnexpectedRowsExpectation(
                unexpected_rows_query="SELECT * FROM {batch} WHERE NOT regexp_like(event_id, '^e')"
            ),
            gxe.ExpectColumnValuesToBeInSet(column="n", value_set=[0, 1, 2, 3, 4]),
        ],
    )
    assets = [
        source.add_table_asset("table", table_name=clicks),
        source.add_query_asset("query", query=f"SELECT * FROM {clicks} WHERE hour = 1"),
    ]
    for asset in assets:
        batch = asset.add_batch_definition_whole_table(asset.name).get_batch()
        result = batch.validate(suite)
        failed = [item for item in result.results if not item.success]
        assert [item.expectation_config.type for item in failed] == [
            "expect_column_values_to_be_in_set"
        ], failed
        assert failed[0].result["unexpected_percent"] == 50.0


def test_a_work_group_keeps_the_engine_it_asks_for(athena: Athena, group: str) -> None:
    def engine() -> dict[str, str]:
        found = athena.api.get_work_group(WorkGroup=group)["WorkGroup"]["Configuration"]
        return found["EngineVersion"]

    def choose(version: str) -> None:
        athena.api.update_work_group(
            WorkGroup=group,
            ConfigurationUpdates={"EngineVersion": {"SelectedEngineVersion": version}},
        )

    three = "Athena engine version 3"
    assert engine() == {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": three}
    choose(three)
    assert engine() == {"SelectedEngineVersion": three, "EffectiveEngineVersion": three}
    with pytest.raises(ClientError, match="Athena engine version 2 is not available"):
        choose("Athena engine version 2")
