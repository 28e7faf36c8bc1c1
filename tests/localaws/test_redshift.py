"""Redshift: the Serverless control plane and the Data API, driven as Airflow and Terraform do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws

ROLE = "arn:aws:iam::000000000000:role/warehouse"
#: A statement that nobody will see the end of.
ENDLESS = "SELECT COUNT(*) FROM GENERATE_SERIES(1, 1000000000000) AS g(n) WHERE MOD(n, 7) = 3"
PARQUET = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    },
}


class Warehouse:
    """A workgroup and the few calls the tests need."""

    def __init__(self, aws: EmbeddedAws, name: str) -> None:
        self.name, self.database = name, "analytics"
        self.serverless, self.data = aws.client("redshift-serverless"), aws.client("redshift-data")
        self.target = {"WorkgroupName": name, "Database": self.database}
        self.serverless.create_namespace(
            namespaceName=name, dbName=self.database, iamRoles=[ROLE], defaultIamRoleArn=ROLE
        )
        self.serverless.create_workgroup(workgroupName=name, namespaceName=name)

    def submit(self, *sqls: str, **members: Any) -> str:
        """Send one statement, or several as a batch; returns the id."""
        request = self.target | members
        if len(sqls) == 1:
            return self.data.execute_statement(Sql=sqls[0], **request)["Id"]
        return self.data.batch_execute_statement(Sqls=list(sqls), **request)["Id"]

    def end(self, identifier: str) -> dict[str, Any]:
        """The statement's description once it has ended."""
        for _ in range(4):
            found = self.data.describe_statement(Id=identifier, WaitTimeSeconds=15)
            if found["Status"] in ("FINISHED", "FAILED", "ABORTED"):
                return found
        raise AssertionError(f"it does not end: {found}")

    def run(self, *sqls: str, **members: Any) -> dict[str, Any]:
        """Send and wait; the statement must finish."""
        found = self.end(self.submit(*sqls, **members))
        assert found["Status"] == "FINISHED", found.get("Error")
        return found

    def error(self, *sqls: str, **members: Any) -> str:
        """Send and wait; the statement must fail. Returns its Error."""
        found = self.end(self.submit(*sqls, **members))
        assert found["Status"] == "FAILED"
        return found["Error"]

    def rows(self, sql: str, **members: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, over all pages."""
        identifier = self.run(sql, **members)["Id"]
        pages = self.data.get_paginator("get_statement_result").paginate(Id=identifier)
        return [
            tuple(None if "isNull" in field else next(iter(field.values())) for field in record)
            for page in pages
            for record in page["Records"]
        ]


@pytest.fixture(scope="module")
def warehouse(aws: EmbeddedAws) -> Warehouse:
    return Warehouse(aws, f"wh-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def table(warehouse: Warehouse) -> str:
    """An empty table (id, name, at)."""
    name = f"t_{uuid.uuid4().hex[:8]}"
    warehouse.run(f"CREATE TABLE {name} (id BIGINT NOT NULL, name VARCHAR(5), at TIMESTAMP)")
    return name


@contextlib.contextmanager
def refused(code: str, *words: str) -> Iterator[None]:
    """The call inside is answered with this error, whose message has these words."""
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code
    for word in words:
        assert word in caught.value.response["Error"]["Message"]


# ---------------------------------------------------------------- control plane


@pytest.fixture
def serverless(aws: EmbeddedAws) -> Any:
    return aws.client("redshift-serverless")


@pytest.fixture
def name() -> str:
    return f"ns-{uuid.uuid4().hex[:8]}"


def test_a_namespace_and_its_workgroup_live_and_die_in_order(serverless: Any, name: str) -> None:
    made = serverless.create_namespace(namespaceName=name, iamRoles=[ROLE])["namespace"]
    assert (made["dbName"], made["status"], made["iamRoles"]) == ("dev", "AVAILABLE", [ROLE])
    assert serverless.get_namespace(namespaceName=name)["namespace"] == made
    group = serverless.create_workgroup(workgroupName=name, namespaceName=name, baseCapacity=8)
    assert group["workgroup"]["status"] == "AVAILABLE"
    assert group["workgroup"]["endpoint"]["port"] == 5439
    with refused("ConflictException", "delete the workgroup first"):
        serverless.delete_namespace(namespaceName=name)
    serverless.delete_workgroup(workgroupName=name)
    assert serverless.delete_namespace(namespaceName=name)["namespace"]["status"] == "DELETING"
    with refused("ResourceNotFoundException", name):
        serverless.get_namespace(namespaceName=name)
    with refused("ResourceNotFoundException", name):
        serverless.get_workgroup(workgroupName=name)


def test_what_exists_or_is_wrong_is_refused(serverless: Any, name: str) -> None:
    with refused("ResourceNotFoundException"):
        serverless.create_workgroup(workgroupName=name, namespaceName=name)
    serverless.create_namespace(namespaceName=name)
    with refused("ConflictException", "already exists"):
        serverless.create_namespace(namespaceName=name)
    with refused("ValidationException", "one of iamRoles"):
        serverless.update_namespace(namespaceName=name, defaultIamRoleArn=ROLE)
    with refused("ValidationException", "dbName"):
        serverless.create_namespace(namespaceName=f"{name}-x", dbName="Bad Name")
    with refused("ValidationException", "baseCapacity"):
        serverless.create_workgroup(workgroupName=name, namespaceName=name, baseCapacity=9)
    serverless.create_workgroup(workgroupName=name, namespaceName=name)
    with refused("ConflictException", "already has a workgroup"):
        serverless.create_workgroup(workgroupName=f"{name}-2", namespaceName=name)


def test_updates_keep_what_they_do_not_name(serverless: Any, name: str) -> None:
    serverless.create_namespace(namespaceName=name)
    serverless.update_namespace(namespaceName=name, iamRoles=[ROLE], defaultIamRoleArn=ROLE)
    assert serverless.get_namespace(namespaceName=name)["namespace"]["defaultIamRoleArn"] == ROLE
    serverless.create_workgroup(workgroupName=name, namespaceName=name, baseCapacity=16)
    parameter = {"parameterKey": "max_query_execution_time", "parameterValue": "60"}
    group = serverless.update_workgroup(workgroupName=name, configParameters=[parameter])
    parameters = group["workgroup"]["configParameters"]
    assert parameter in parameters
    assert {"parameterKey": "auto_mv", "parameterValue": "true"} in parameters
    assert group["workgroup"]["baseCapacity"] == 16
    with refused("ValidationException", "no_such_key"):
        serverless.update_workgroup(
            workgroupName=name,
            configParameters=[{"parameterKey": "no_such_key", "parameterValue": "1"}],
        )


def test_tags_are_added_changed_and_removed(serverless: Any, name: str) -> None:
    made = serverless.create_namespace(namespaceName=name, tags=[{"key": "a", "value": "1"}])
    arn = made["namespace"]["namespaceArn"]
    serverless.tag_resource(
        resourceArn=arn, tags=[{"key": "a", "value": "2"}, {"key": "b", "value": "3"}]
    )
    serverless.untag_resource(resourceArn=arn, tagKeys=["b"])
    tags = serverless.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == [{"key": "a", "value": "2"}]
    with refused("ResourceNotFoundException"):
        serverless.list_tags_for_resource(resourceArn=arn + "x")


def test_lists_come_in_pages(serverless: Any, name: str) -> None:
    names = [f"{name}-{number}" for number in range(3)]
    for each in names:
        serverless.create_namespace(namespaceName=each)
        serverless.create_workgroup(workgroupName=each, namespaceName=each)
    for operation, member in (("namespaces", "namespaceName"), ("workgroups", "workgroupName")):
        pages = serverless.get_paginator(f"list_{operation}").paginate(
            PaginationConfig={"PageSize": 2}
        )
        found = [[item[member] for item in page[operation]] for page in pages]
        assert all(len(page) <= 2 for page in found)
        assert set(names) <= set(itertools.chain(*found))
    with refused("ValidationException", "nextToken"):
        serverless.list_namespaces(nextToken="nonsense")


def test_credentials_are_for_a_moment(serverless: Any, warehouse: Warehouse) -> None:
    credentials = serverless.get_credentials(workgroupName=warehouse.name, durationSeconds=900)
    assert credentials["dbUser"].startswith("IAM:")
    assert 0 < credentials["expiration"].timestamp() - time.time() <= 900
    with refused("ResourceNotFoundException"):
        serverless.get_credentials(workgroupName="nobody")


# ---------------------------------------------------------------- statements


def test_a_result_is_typed(warehouse: Warehouse) -> None:
    found = warehouse.run(
        "SELECT 1 AS Whole, 7 / 2 AS half, 1.5::NUMERIC(10, 2) AS exact, 2.5::FLOAT8 AS about, "
        "TRUE AS yes, 'x' AS text, NULL::INT AS nothing, DATE '2026-01-02' AS day, "
        "TIMESTAMP '2026-01-02 03:04:05.5' AS at, '2026-01-02 03:04:05+02'::TIMESTAMPTZ AS zoned, "
        "JSON_PARSE('{\"a\": [1]}') AS nested, COUNT(*)"
    )
    assert found["HasResultSet"]
    assert found["ResultRows"] == 1
    assert found["ResultSize"] > 0
    assert found["Duration"] > 0
    result = warehouse.data.get_statement_result(Id=found["Id"])
    assert result["TotalNumRows"] == 1
    assert result["Records"] == [
        [
            {"longValue": 1},
            {"longValue": 3},
            {"stringValue": "1.50"},
            {"doubleValue": 2.5},
            {"booleanValue": True},
            {"stringValue": "x"},
            {"isNull": True},
            {"stringValue": "2026-01-02"},
            {"stringValue": "2026-01-02 03:04:05.5"},
            {"stringValue": "2026-01-02 01:04:05+00"},
            {"stringValue": '{"a":[1]}'},
            {"longValue": 1},
        ]
    ]
    columns = [(column["name"], column["typeName"]) for column in result["ColumnMetadata"]]
    assert columns == [
        ("whole", "int4"),
        ("half", "int4"),
        ("exact", "numeric"),
        ("about", "float8"),
        ("yes", "bool"),
        ("text", "varchar"),
        ("nothing", "int4"),
        ("day", "date"),
        ("at", "timestamp"),
        ("zoned", "timestamptz"),
        ("nested", "super"),
        ("count", "int8"),
    ]
    assert result["ColumnMetadata"][2]["scale"] == 2


def test_a_long_result_comes_in_pages_and_an_empty_one_is_empty(warehouse: Warehouse) -> None:
    sql = "SELECT n FROM GENERATE_SERIES(1, 2500) AS g(n) WHERE n > :least"
    parameters = [{"name": "least", "value": "0"}]
    assert {row[0] for row in warehouse.rows(sql, Parameters=parameters)} == set(range(1, 2501))
    found = warehouse.run(sql, Parameters=[{"name": "least", "value": "5000"}])
    assert (found["HasResultSet"], found["ResultRows"]) == (True, 0)
    result = warehouse.data.get_statement_result(Id=found["Id"])
    assert (result["Records"], result["TotalNumRows"]) == ([], 0)
    assert [column["name"] for column in result["ColumnMetadata"]] == ["n"]


def test_a_csv_result_is_read_by_its_own_call(warehouse: Warehouse) -> None:
    identifier = warehouse.run("SELECT 1, 'a,b', TRUE, NULL", ResultFormat="CSV")["Id"]
    result = warehouse.data.get_statement_result_v2(Id=identifier)
    assert result["Records"] == [{"CSVRecords": '1,"a,b",true,\r\n'}]
    with refused("ValidationException", "GetStatementResultV2"):
        warehouse.data.get_statement_result(Id=identifier)


def test_counts_of_rows_written_are_told(warehouse: Warehouse, table: str) -> None:
    written = warehouse.run(f"INSERT INTO {table} (id) SELECT 1 UNION ALL SELECT 2")
    assert (written["ResultRows"], written["HasResultSet"]) == (2, False)
    assert warehouse.run(f"UPDATE {table} SET name = 'n' WHERE id = 2")["ResultRows"] == 1
    assert warehouse.run(f"DELETE FROM {table}")["ResultRows"] == 2
    with refused("ResourceNotFoundException", "does not have result"):
        warehouse.data.get_statement_result(Id=written["Id"])


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM no_table", 'relation "no_table" does not exist'),
        ("SELECT * FROM no_schema.t", 'schema "no_schema" does not exist'),
        ("SELECT no_column FROM {table}", 'column "no_column" does not exist'),
        ("SELECT no_function(1)", "function no_function() does not exist"),
        ("SELECT FNV_HASH(1)", "function fnv_hash() does not exist"),
        ("SELECT * FROM read_csv('/etc/hostname')", "not available in FROM"),
        ('SELECT * FROM "/etc/hostname"', 'relation "/etc/hostname" does not exist'),
        ("CREATE TABLE {table} (a INT)", 'Relation "{table}" already exists'),
        ("INSERT INTO {table} VALUES (1, 'toolong', NULL)", "Value too long for character type"),
        ("INSERT INTO {table} (name) VALUES ('x')", "Cannot insert a NULL value into column id"),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT 'x'::INT", "Could not convert"),
        ("SELECT (n || 'x')::INT FROM GENERATE_SERIES(1, 9) AS g(n)", "Could not convert"),
        ("SELECT :missing", "missing"),
        ("CALL no_procedure()", "procedure public.no_procedure() does not exist"),
        ("ANALYZE no_table", 'relation "no_table" does not exist'),
        ("BEGIN", "BatchExecuteStatement"),
        ("SET wlm_query_slot_count TO 3", "wlm_query_slot_count"),
        ("SELECT * FROM other_database.public.t", "cross-database"),
    ],
)
def test_a_wrong_statement_fails_in_words_like_redshifts(
    warehouse: Warehouse, table: str, sql: str, error: str
) -> None:
    found = warehouse.error(sql.replace("{table}", table))
    assert found.startswith("ERROR: ")
    assert error.replace("{table}", table) in found


def test_requests_that_aws_refuses_are_refused(warehouse: Warehouse) -> None:
    run = warehouse.data.execute_statement
    batch = warehouse.data.batch_execute_statement
    with refused("ValidationException", "endpoint doesn't exist", "nobody"):
        run(Sql="SELECT 1", WorkgroupName="nobody", Database="dev")
    with refused("ValidationException", "no clusters"):
        run(Sql="SELECT 1", ClusterIdentifier="cluster", Database="dev", DbUser="me")
    with refused("ValidationException", "WorkgroupName or ClusterIdentifier"):
        run(Sql="SELECT 1", Database="dev")
    with refused("ValidationException", "Database"):
        run(Sql="SELECT 1", WorkgroupName=warehouse.name)
    with refused("ValidationException", "DbUser"):
        run(Sql="SELECT 1", DbUser="me", **warehouse.target)
    with refused("ValidationException", "SecretArn"):
        run(Sql="SELECT 1", SecretArn="no-such-secret", **warehouse.target)
    with refused("ValidationException", "WithEvent"):
        run(Sql="SELECT 1", WithEvent=True, **warehouse.target)
    with refused("ValidationException", "SessionKeepAliveSeconds"):
        run(Sql="SELECT 1", SessionKeepAliveSeconds=60, **warehouse.target)
    with refused("ValidationException", "Multiple sql statements"):
        run(Sql="SELECT 1; SELECT 2", **warehouse.target)
    with refused("ValidationException", "empty"):
        run(Sql=" -- nothing\n", **warehouse.target)
    with refused("ValidationException", "bytes"):
        run(Sql=f"SELECT '{'x' * 102_400}'", **warehouse.target)
    with refused("ValidationException", "41 statements"):
        batch(Sqls=["SELECT 1"] * 41, **warehouse.target)
    with refused("ValidationException", "COMMIT"):
        batch(Sqls=["SELECT 1", "commit;"], **warehouse.target)
    with refused("ValidationException", "Unused parameters: [b]"):
        run(
            Sql="SELECT ':b', :a::INT",
            Parameters=[{"name": "a", "value": "1"}, {"name": "b", "value": "2"}],
            **warehouse.target,
        )
    with refused("ResourceNotFoundException"):
        warehouse.data.describe_statement(Id=str(uuid.uuid4()))
    assert "does not exist" in warehouse.error("SELECT 1", Database="other")


def test_a_parameter_is_text_that_is_cast_and_never_sql(warehouse: Warehouse, table: str) -> None:
    nasty = "o'k\\"
    warehouse.run(f"INSERT INTO {table} VALUES (1, 'a', '2026-01-02'), (2, 'b', NULL)")
    parameters = [
        {"name": "id", "value": "1"},
        {"name": "at", "value": "2026-01-02 00:00:00"},
        {"name": "x", "value": nasty},
    ]
    sql = f"SELECT name, :x FROM {table} WHERE id = :id AND at = :at"
    assert warehouse.rows(sql, Parameters=parameters) == [("a", nasty)]
    injected = [{"name": "x", "value": f"a' OR 1=1; DROP TABLE {table} --"}]
    sql = f"SELECT id FROM {table} WHERE name = :x"
    assert warehouse.rows(sql, Parameters=injected) == []


def test_a_client_token_gives_the_same_statement(warehouse: Warehouse, table: str) -> None:
    token = uuid.uuid4().hex
    insert = f"INSERT INTO {table} (id) VALUES (1)"
    first = warehouse.submit(insert, ClientToken=token)
    warehouse.end(first)
    assert warehouse.submit(insert, ClientToken=token) == first
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(1,)]
    with refused("ValidationException", token):
        warehouse.submit("SELECT 1", ClientToken=token)


def test_statements_are_listed_by_name_and_state(warehouse: Warehouse) -> None:
    prefix = f"job-{uuid.uuid4().hex[:8]}"
    ids = [warehouse.submit("SELECT 1", StatementName=f"{prefix}-{n}") for n in range(3)]
    failed = warehouse.submit("SELECT no", "SELECT 1", StatementName=f"{prefix}-bad")
    for identifier in (*ids, failed):
        warehouse.end(identifier)
    pages = warehouse.data.get_paginator("list_statements").paginate(
        StatementName=prefix, PaginationConfig={"PageSize": 2}
    )
    found = [[item["Id"] for item in page["Statements"]] for page in pages]
    assert [len(page) for page in found] == [2, 1]
    assert sorted(itertools.chain(*found)) == sorted(ids)
    (bad,) = warehouse.data.list_statements(StatementName=prefix, Status="FAILED")["Statements"]
    assert (bad["Id"], bad["IsBatchStatement"]) == (failed, True)
    everything = warehouse.data.list_statements(StatementName=prefix, Status="ALL")["Statements"]
    assert len(everything) == 4
    assert (
        warehouse.data.list_statements(StatementName=prefix, Status="STARTED")["Statements"] == []
    )


def test_a_cancelled_statement_is_aborted_and_leaves_no_row(
    warehouse: Warehouse, table: str
) -> None:
    identifier = warehouse.submit(f"INSERT INTO {table} (id) VALUES (1)", ENDLESS)
    wait_for(lambda: sub_states(warehouse, identifier) == ["FINISHED", "SUBMITTED"])
    assert warehouse.data.cancel_statement(Id=identifier)["Status"] is True
    found = warehouse.end(identifier)
    assert (found["Status"], "cancelled" in found["Error"]) == ("ABORTED", True)
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(0,)]
    with refused("ValidationException", "ABORTED"):
        warehouse.data.cancel_statement(Id=identifier)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def sub_states(warehouse: Warehouse, identifier: str) -> list[str]:
    found = warehouse.data.describe_statement(Id=identifier)
    return [part["Status"] for part in found["SubStatements"]]


# ---------------------------------------------------------------- transactions


def test_a_batch_shows_its_parts(warehouse: Warehouse, table: str) -> None:
    found = warehouse.run(
        f"INSERT INTO {table} (id) VALUES (1), (2)",
        "CREATE TEMP TABLE seen (id BIGINT)",
        f"INSERT INTO seen SELECT id FROM {table}",
        "SELECT id FROM seen ORDER BY id",
    )
    parts = found["SubStatements"]
    assert [part["Id"] for part in parts] == [f"{found['Id']}:{n}" for n in (1, 2, 3, 4)]
    assert [part["ResultRows"] for part in parts] == [2, 0, 2, 2]
    assert [part["HasResultSet"] for part in parts] == [False, False, False, True]
    assert found["HasResultSet"]
    result = warehouse.data.get_statement_result(Id=parts[3]["Id"])
    assert result["Records"] == [[{"longValue": 1}], [{"longValue": 2}]]


def test_a_batch_that_fails_in_its_third_statement_undoes_the_first_two(
    warehouse: Warehouse, table: str
) -> None:
    warehouse.run(f"INSERT INTO {table} (id) VALUES (1)")
    found = warehouse.end(
        warehouse.submit(
            f"DELETE FROM {table}",
            f"CREATE VIEW {table}_view AS SELECT id FROM {table}",
            f"INSERT INTO {table} VALUES (2, 'toolong', NULL)",
            f"INSERT INTO {table} (id) VALUES (3)",
        )
    )
    assert found["Status"] == "FAILED"
    assert found["Error"].startswith("Query #3 failed with ERROR: Value too long")
    states = [part["Status"] for part in found["SubStatements"]]
    assert states == ["FINISHED", "FINISHED", "FAILED", "ABORTED"]
    assert warehouse.rows(f"SELECT id FROM {table}") == [(1,)]
    assert "does not exist" in warehouse.error(f"SELECT * FROM {table}_view")


def test_auto_commit_keeps_what_went_well(warehouse: Warehouse, table: str) -> None:
    statements = [f"INSERT INTO {table} (id) VALUES ({n})" for n in (1, 2)]
    error = warehouse.error(
        statements[0], "SELECT no_column", statements[1], ExecutionMode="AUTO_COMMIT"
    )
    assert "Query #2" in error
    assert warehouse.rows(f"SELECT id FROM {table} ORDER BY id") == [(1,), (2,)]


def test_truncate_commits_as_in_redshift(warehouse: Warehouse, table: str) -> None:
    warehouse.run(f"INSERT INTO {table} (id) VALUES (1)")
    warehouse.error(f"TRUNCATE {table}", "SELECT no_column")
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(0,)]


def test_writers_of_one_table_wait_for_each_other(warehouse: Warehouse, table: str) -> None:
    """Were they not to wait, both would delete nothing and both would insert."""
    batches = [
        warehouse.submit(f"DELETE FROM {table}", f"INSERT INTO {table} (id) VALUES ({number})")
        for number in range(6)
    ]
    assert {warehouse.end(batch)["Status"] for batch in batches} == {"FINISHED"}
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(1,)]


@pytest.fixture
def gate(warehouse: Warehouse, table: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """A table whose writers wait, and what opens it."""
    name = f"{table}_gate"
    warehouse.run(f"CREATE TABLE {name} (id BIGINT)")
    holder = warehouse.submit(f"INSERT INTO {name} VALUES (0)", ENDLESS)
    wait_for(lambda: sub_states(warehouse, holder)[0] == "FINISHED")
    yield name, lambda: warehouse.data.cancel_statement(Id=holder)
    with contextlib.suppress(ClientError):
        warehouse.data.cancel_statement(Id=holder)


def test_a_transaction_that_read_before_another_wrote_fails_with_error_1023(
    warehouse: Warehouse, table: str, gate: tuple[str, Callable[[], object]]
) -> None:
    closed, open_gate = gate
    late = warehouse.submit(
        f"SELECT COUNT(*) FROM {table}",
        f"INSERT INTO {closed} VALUES (1)",
        f"INSERT INTO {table} (id) VALUES (1)",
    )
    wait_for(lambda: sub_states(warehouse, late)[0] == "FINISHED")
    warehouse.run(f"INSERT INTO {table} (id) VALUES (2)")
    open_gate()
    found = warehouse.end(late)
    assert found["Status"] == "FAILED"
    assert "1023" in found["Error"]
    assert "Serializable isolation violation" in found["Error"]
    assert warehouse.rows(f"SELECT id FROM {table}") == [(2,)]


def test_temporary_tables_of_one_name_do_not_meet(
    warehouse: Warehouse, gate: tuple[str, Callable[[], object]]
) -> None:
    closed, open_gate = gate
    late = warehouse.submit(
        f"SELECT COUNT(*) FROM {closed}",
        f"INSERT INTO {closed} VALUES (1)",
        "CREATE TEMP TABLE staged AS SELECT 1 AS id",
        "INSERT INTO staged VALUES (2)",
        "SELECT COUNT(*) FROM staged",
    )
    wait_for(lambda: sub_states(warehouse, late)[0] == "FINISHED")
    warehouse.run("CREATE TEMP TABLE staged (id INT)", "INSERT INTO staged VALUES (1)")
    open_gate()
    found = warehouse.end(late)
    assert found["Status"] == "FINISHED", found["Error"]
    counted = warehouse.data.get_statement_result(Id=f"{late}:5")
    assert counted["Records"] == [[{"longValue": 2}]]


def test_a_deadlock_ends_one_of_the_two(
    warehouse: Warehouse, table: str, gate: tuple[str, Callable[[], object]]
) -> None:
    closed, open_gate = gate
    other = f"{table}_other"
    warehouse.run(f"CREATE TABLE {other} (id BIGINT)")
    batches = [
        warehouse.submit(*(f"INSERT INTO {each} (id) VALUES (1)" for each in order))
        for order in ((table, closed, other), (other, closed, table))
    ]
    for batch in batches:
        wait_for(lambda batch=batch: sub_states(warehouse, batch)[0] == "FINISHED")
    open_gate()
    ended = [warehouse.end(batch) for batch in batches]
    (failed,) = [found for found in ended if found["Status"] == "FAILED"]
    assert "deadlock detected" in failed["Error"]
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(1,)]


def test_a_kill_within_a_transaction_leaves_the_old_rows(tmp_path: Path) -> None:
    with EmbeddedAws(tmp_path) as own:
        warehouse = Warehouse(own, "crash")
        warehouse.run("CREATE TABLE t (id BIGINT)")
        warehouse.run("INSERT INTO t SELECT n FROM GENERATE_SERIES(1, 1000) AS g(n)")
        cut = warehouse.submit("DELETE FROM t", "INSERT INTO t VALUES (5)", ENDLESS)
        wait_for(lambda: sub_states(warehouse, cut) == ["FINISHED", "FINISHED", "SUBMITTED"])
        own.kill()
        own.command("start")
        found = warehouse.end(cut)
        assert found["Status"] == "FAILED"
        assert "rolled back" in found["Error"]
        assert warehouse.rows("SELECT COUNT(*), SUM(id) FROM t") == [(1000, 500500)]
        warehouse.run("DELETE FROM t", "INSERT INTO t VALUES (5)")
        assert warehouse.rows("SELECT id FROM t") == [(5,)]


# ---------------------------------------------------------------- SQL


def test_ddl_may_say_how_redshift_lays_rows_out(warehouse: Warehouse, table: str) -> None:
    made = f"{table}_laid_out"
    warehouse.run(
        f"""-- a header; with a semicolon and an apostrophe's mark
        CREATE TABLE IF NOT EXISTS public.{made} (
            id BIGINT IDENTITY(10, 5) NOT NULL ENCODE az64,
            code CHAR(2) DEFAULT 'no' ENCODE lzo DISTKEY,
            tags SUPER ENCODE zstd,
            at TIMESTAMP DEFAULT GETDATE() SORTKEY,
            amount NUMERIC,
            PRIMARY KEY (id), UNIQUE (code)
        ) DISTSTYLE KEY"""
    )
    for _ in range(2):  # neither key is held to, as in Redshift
        warehouse.run(f"INSERT INTO {made} (tags, amount) VALUES (JSON_PARSE('[1]'), 2.5)")
    rows = warehouse.rows(f"SELECT id, code, tags, amount, at IS NULL FROM {made} ORDER BY id")
    assert rows == [(10, "no", "[1]", "3", False), (15, "no", "[1]", "3", False)]
    warehouse.run(f"ALTER TABLE {made} ADD COLUMN note VARCHAR(2) ENCODE lzo")
    assert "too long" in warehouse.error(f"UPDATE {made} SET note = 'abc'")
    warehouse.run(f"ALTER TABLE {made} ALTER COLUMN note TYPE VARCHAR(3)")
    warehouse.run(f"UPDATE {made} SET note = 'abc'")
    warehouse.run(f"ALTER TABLE {made} DROP COLUMN tags")
    warehouse.run(f"ALTER TABLE {made} RENAME COLUMN note TO remark")
    warehouse.run(f"ALTER TABLE {made} ALTER DISTKEY code")
    copy = f"{made}_copy"
    warehouse.run(f"CREATE TABLE {copy} (LIKE {made})")
    warehouse.run(f"INSERT INTO {copy} SELECT * FROM {made}")
    assert "too long" in warehouse.error(f"UPDATE {copy} SET remark = 'abcd'")
    warehouse.run(f"DROP TABLE {made}", f"DROP TABLE {copy}")


def test_views_read_what_is_there_and_hold_on_to_it(warehouse: Warehouse, table: str) -> None:
    warehouse.run(f"CREATE VIEW {table}_v (number) AS SELECT id FROM {table}")
    warehouse.run(f"CREATE VIEW {table}_late AS SELECT * FROM later.t WITH NO SCHEMA BINDING")
    warehouse.run(f"INSERT INTO {table} (id) VALUES (4)")
    assert warehouse.rows(f"SELECT number FROM {table}_v") == [(4,)]
    assert 'schema "later" does not exist' in warehouse.error(f"SELECT * FROM {table}_late")
    assert "other objects depend on it" in warehouse.error(f"DROP TABLE {table}")
    assert "does not exist" in warehouse.error(f"CREATE VIEW {table}_w AS SELECT * FROM nowhere")
    assert "is not a table" in warehouse.error(f"INSERT INTO {table}_v VALUES (1)")
    warehouse.run(f"CREATE OR REPLACE VIEW {table}_v AS SELECT id + 1 AS next FROM {table}")
    assert warehouse.rows(f"SELECT next FROM {table}_v") == [(5,)]
    warehouse.run(f"DROP TABLE {table} CASCADE")
    assert "does not exist" in warehouse.error(f"SELECT * FROM {table}_v")


def test_a_materialized_view_changes_when_it_is_refreshed(warehouse: Warehouse, table: str) -> None:
    view = f"{table}_mv"
    warehouse.run(
        f"CREATE MATERIALIZED VIEW {view} AUTO REFRESH NO AS SELECT COUNT(*) AS n FROM {table}"
    )
    warehouse.run(f"INSERT INTO {table} (id) VALUES (1)")
    assert warehouse.rows(f"SELECT n FROM {view}") == [(0,)]
    warehouse.run(f"REFRESH MATERIALIZED VIEW {view}")
    assert warehouse.rows(f"SELECT n FROM {view}") == [(1,)]
    assert "is not a table" in warehouse.error(f"DELETE FROM {view}")
    warehouse.run(f"DROP MATERIALIZED VIEW {view}")


@pytest.fixture
def stage(warehouse: Warehouse, table: str) -> str:
    """A table beside `table` (ids 1, 2): ids 2 and 3 with other names."""
    name = f"{table}_stage"
    warehouse.run(f"CREATE TABLE {name} (LIKE {table})")
    warehouse.run(f"INSERT INTO {table} (id, name) VALUES (1, 'old'), (2, 'old')")
    warehouse.run(f"INSERT INTO {name} (id, name) VALUES (2, 'new'), (3, 'new')")
    return name


@pytest.mark.parametrize(
    ("clauses", "rows"),
    [
        (
            "WHEN MATCHED THEN UPDATE SET name = s.name "
            "WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name, s.at)",
            [(1, "old"), (2, "new"), (3, "new")],
        ),
        (
            "WHEN MATCHED THEN UPDATE SET name = UPPER(s.name) "
            "WHEN NOT MATCHED THEN INSERT (name, id) VALUES ('in', s.id)",
            [(1, "old"), (2, "NEW"), (3, "in")],
        ),
        (
            "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id)",
            [(1, "old"), (3, None)],
        ),
        ("REMOVE DUPLICATES", [(1, "old"), (2, "new"), (3, "new")]),
    ],
)
def test_merge_in_all_its_forms(
    warehouse: Warehouse, table: str, stage: str, clauses: str, rows: list[tuple[Any, ...]]
) -> None:
    warehouse.run(f"MERGE INTO {table} USING {stage} AS s ON {table}.id = s.id {clauses}")
    assert warehouse.rows(f"SELECT id, name FROM {table} ORDER BY id") == rows


def test_merge_refuses_what_redshift_refuses(warehouse: Warehouse, table: str, stage: str) -> None:
    clauses = "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)"
    on = f"ON {table}.id = s.id"
    subquery = f"MERGE INTO {table} USING (SELECT * FROM {stage}) AS s {on} {clauses}"
    assert "must be a table" in warehouse.error(subquery)
    half = f"MERGE INTO {table} USING {stage} AS s {on} WHEN MATCHED THEN DELETE"
    assert "one WHEN MATCHED and one WHEN NOT MATCHED" in warehouse.error(half)
    warehouse.run(f"INSERT INTO {stage} (id) VALUES (2)")
    twice = clauses.replace("DELETE", "UPDATE SET name = s.name")
    error = warehouse.error(f"MERGE INTO {table} USING {stage} AS s {on} {twice}")
    assert "Found multiple matches" in error


def test_redshifts_functions_mean_what_they_mean_there(warehouse: Warehouse) -> None:
    expected = {
        "AVG(n)": 2,
        "MEDIAN(n)": 2.5,
        "SUM(n) / COUNT(n)": 2,
        "APPROXIMATE COUNT(DISTINCT n)": 4,
        "LISTAGG(n, ',') WITHIN GROUP (ORDER BY n DESC)": "4,3,2,1",
        "LISTAGG(DISTINCT n::VARCHAR, '-') WITHIN GROUP (ORDER BY n::VARCHAR)": "1-2-3-4",
        "NVL(NULL, MAX(n))": 4,
        "NVL2(NULL, 1, 2)": 2,
        "DECODE(MAX(n), 4, 'four', 'other')": "four",
        "DATEADD(day, -1, '2026-01-01'::TIMESTAMP)": "2025-12-31 00:00:00",
        "DATEDIFF(hour, '2026-01-01 00:59:00'::TIMESTAMP, '2026-01-01 02:00:00'::TIMESTAMP)": 2,
        "DATE_TRUNC('hour', '2026-01-01 02:03:04'::TIMESTAMP)": "2026-01-01 02:00:00",
        "TRUNC('2026-01-01 02:03:04'::TIMESTAMP)": "2026-01-01",
        "TO_CHAR('2026-01-01 02:03:04'::TIMESTAMP, 'YYYY-MM-DD HH24:MI')": "2026-01-01 02:03",
        "TO_DATE('20260102', 'YYYYMMDD')": "2026-01-02",
        "CONVERT_TIMEZONE('UTC', 'Asia/Tokyo', '2026-01-01'::TIMESTAMP)": "2026-01-01 09:00:00",
        "LEN('abc')": 3,
        "'abcdef'::VARCHAR(3)": "abc",
        "REGEXP_REPLACE('banana', 'a', 'o')": "bonono",
        "'abc' SIMILAR TO 'a%'": True,
        "SHA2('a', 256)": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "JSON_EXTRACT_PATH_TEXT('{\"a\": {\"b\": \"c\"}}', 'a', 'b')": "c",
        "GETDATE() > '2020-01-01'": True,
        "GETDATE()::DATE = CURRENT_DATE": True,
    }
    selected = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(expected))
    (row,) = warehouse.rows(f"SELECT {selected} FROM GENERATE_SERIES(1, 4) AS g(n)")
    assert dict(zip(expected, row, strict=True)) == expected


def test_nested_values_are_reached_by_name(warehouse: Warehouse, table: str) -> None:
    warehouse.run(f"ALTER TABLE {table} ADD COLUMN extra SUPER")
    warehouse.run(
        f"""INSERT INTO {table} (id, extra) VALUES
        (1, JSON_PARSE('{{"a": {{"b": ["x", 7]}}, "n": 5}}')), (2, NULL)"""
    )
    assert warehouse.rows(
        f"SELECT t.extra.a.b[0]::VARCHAR, extra.n, t.extra['n']::INT + 1, v.one FROM {table} AS t, "
        "(VALUES (1)) AS v(one) WHERE t.extra.a.b[0] = 'x' AND t.extra.n BETWEEN 4 AND 6"
    ) == [("x", "5", 6, 1)]
    assert warehouse.rows(f"SELECT id FROM {table} WHERE extra.n IS NULL") == [(2,)]


def test_windows_are_computed(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        "SELECT n, RATIO_TO_REPORT(n) OVER (), AVG(n) OVER (ORDER BY n), "
        "SUM(n) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) "
        "FROM GENERATE_SERIES(1, 4) AS g(n) QUALIFY ROW_NUMBER() OVER (ORDER BY n) > 1 ORDER BY n"
    )
    assert rows == [(2, 0.2, 1, 3), (3, 0.3, 2, 5), (4, 0.4, 2, 7)]


def test_the_search_path_counts_within_its_request(warehouse: Warehouse) -> None:
    schema = f"s_{uuid.uuid4().hex[:8]}"
    warehouse.run(f"CREATE SCHEMA {schema}")
    found = warehouse.run(
        f"SET search_path TO {schema}, public",
        "CREATE TABLE here (a INT)",
        f"SELECT 1 FROM svv_tables WHERE table_name = 'here' AND table_schema = '{schema}'",
    )
    assert found["SubStatements"][2]["ResultRows"] == 1
    assert 'relation "here" does not exist' in warehouse.error("SELECT * FROM here")
    assert "other objects depend on it" in warehouse.error(f"DROP SCHEMA {schema}")
    warehouse.run(f"DROP SCHEMA {schema} CASCADE")


def test_grants_are_checked_and_recorded(warehouse: Warehouse, table: str) -> None:
    group = f"g_{uuid.uuid4().hex[:8]}"
    assert "does not exist" in warehouse.error(f"GRANT SELECT ON {table} TO GROUP {group}")
    warehouse.run(f"CREATE GROUP {group}")
    assert "already exists" in warehouse.error(f"CREATE GROUP {group}")
    assert "does not exist" in warehouse.error(f"GRANT SELECT ON no_table TO GROUP {group}")
    assert "invalid privilege" in warehouse.error(f"GRANT FLY ON {table} TO GROUP {group}")
    warehouse.run(f"GRANT SELECT, INSERT ON {table} TO GROUP {group}")
    warehouse.run(f"REVOKE INSERT ON {table} FROM GROUP {group}")
    sql = (
        "SELECT relation_name, privilege_type, identity_type FROM svv_relation_privileges "
        f"WHERE identity_name = '{group}'"
    )
    assert warehouse.rows(sql) == [(table, "SELECT", "group")]
    assert "revoke" in warehouse.error(f"DROP GROUP {group}")


# ---------------------------------------------------------------- looking at the database


def test_the_database_can_be_looked_at(warehouse: Warehouse, table: str) -> None:
    data, target = warehouse.data, warehouse.target
    assert data.list_databases(WorkgroupName=warehouse.name)["Databases"] == ["analytics"]
    assert "public" in data.list_schemas(**target)["Schemas"]
    assert data.list_schemas(SchemaPattern="publi_", **target)["Schemas"] == ["public"]
    tables = data.list_tables(TablePattern=f"{table}%", **target)["Tables"]
    assert tables == [{"name": table, "schema": "public", "type": "TABLE"}]
    assert data.list_tables(TablePattern="no%", **target)["Tables"] == []
    pages = data.get_paginator("describe_table").paginate(
        Schema="public", Table=table, PaginationConfig={"PageSize": 2}, **target
    )
    columns = [[column["name"] for column in page["ColumnList"]] for page in pages]
    assert columns == [["id", "name"], ["at"]]
    with refused("ValidationException", "does not exist"):
        data.list_schemas(WorkgroupName=warehouse.name, Database="other")


# ---------------------------------------------------------------- S3 and the lake


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.fixture
def lake(aws: EmbeddedAws, warehouse: Warehouse, bucket: str) -> str:
    """An external schema with a table `events` of two hours, two rows each."""
    glue, s3 = aws.client("glue"), aws.client("s3")
    database = f"db_{uuid.uuid4().hex[:8]}"
    storage = {
        "Columns": [
            {"Name": "id", "Type": "bigint"},
            {"Name": "name", "Type": "string"},
            {"Name": "metadata", "Type": "map<string,string>"},
        ],
        "Location": f"s3://{bucket}/events/",
        **PARQUET,
    }
    glue.create_database(DatabaseInput={"Name": database})
    glue.create_table(
        DatabaseName=database,
        TableInput={
            "Name": "events",
            "TableType": "EXTERNAL_TABLE",
            "PartitionKeys": [{"Name": "day", "Type": "string"}, {"Name": "hour", "Type": "int"}],
            "StorageDescriptor": storage,
        },
    )
    for hour in (0, 1):
        folder = f"events/day=2026-01-01/hour={hour}/"
        maps = pa.array([[("source", f"s{hour}")], []], pa.map_(pa.string(), pa.string()))
        body = parquet(id=[hour * 2, hour * 2 + 1], name=["a", "b"], metadata=maps)
        s3.put_object(Bucket=bucket, Key=f"{folder}part.parquet", Body=body)
        glue.batch_create_partition(
            DatabaseName=database,
            TableName="events",
            PartitionInputList=[
                {
                    "Values": ["2026-01-01", str(hour)],
                    "StorageDescriptor": storage | {"Location": f"s3://{bucket}/{folder}"},
                }
            ],
        )
    warehouse.run(
        f"CREATE EXTERNAL SCHEMA IF NOT EXISTS {database} FROM DATA CATALOG "
        f"DATABASE '{database}' IAM_ROLE default"
    )
    return database


def test_spectrum_reads_partitions_and_nested_columns(warehouse: Warehouse, lake: str) -> None:
    sql = f"SELECT e.id, e.hour, e.metadata.source::VARCHAR FROM {lake}.events AS e"
    assert warehouse.rows(f"{sql} WHERE day = '2026-01-01' AND hour = 1 ORDER BY id") == [
        (2, 1, "s1"),
        (3, 1, None),
    ]
    assert warehouse.rows(f"{sql} WHERE e.metadata.source = 's0'") == [(0, 0, "s0")]
    assert warehouse.rows(f"{sql} WHERE day = '2025-01-01'") == []
    assert "does not exist" in warehouse.error(f"SELECT * FROM {lake}.nothing")
    assert "is not a table" in warehouse.error(f"DELETE FROM {lake}.events")


def test_only_the_partitions_asked_for_are_read(
    aws: EmbeddedAws, warehouse: Warehouse, lake: str, bucket: str
) -> None:
    key = "events/day=2026-01-01/hour=0/part.parquet"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"not Parquet")
    assert "Spectrum Scan Error" in warehouse.error(f"SELECT COUNT(*) FROM {lake}.events")
    sql = f"SELECT COUNT(*) FROM {lake}.events WHERE hour + 1 > 1 AND name <> 'z'"
    assert warehouse.rows(sql) == [(2,)]
    # The rows an outer join fills up with NULLs are not lost by reading less.
    sql = (
        f"SELECT n, e.id FROM GENERATE_SERIES(1, 2) AS g(n) LEFT JOIN (SELECT * FROM {lake}.events "
        "WHERE hour = 1) AS e ON e.id = n WHERE e.hour IS NULL ORDER BY n"
    )
    assert warehouse.rows(sql) == [(1, None)]


def test_hours_are_loaded_again_and_again_with_the_same_rows(
    warehouse: Warehouse, lake: str, table: str
) -> None:
    loaded = f"{table}_loaded"
    warehouse.run(f"CREATE TABLE {loaded} (id BIGINT, name VARCHAR(9), metadata SUPER, hour INT)")
    for _ in range(2):
        warehouse.run(
            "SET json_serialization_enable TO TRUE",
            f"DELETE FROM {loaded} WHERE hour IN (0, 1)",
            f"INSERT INTO {loaded} SELECT id, name, JSON_PARSE(metadata), hour FROM {lake}.events "
            "WHERE day = '2026-01-01' AND hour IN (0, 1)",
        )
    rows = warehouse.rows(f"SELECT id, metadata.source FROM {loaded} ORDER BY id")
    assert rows == [(0, '"s0"'), (1, None), (2, '"s1"'), (3, None)]


def test_the_catalog_of_the_lake_can_be_queried(warehouse: Warehouse, lake: str) -> None:
    where = f"WHERE schemaname = '{lake}'"
    assert warehouse.rows(f"SELECT tablename FROM svv_external_tables {where}") == [("events",)]
    sql = f'SELECT "values" FROM svv_external_partitions {where} ORDER BY 1'
    assert warehouse.rows(sql) == [('["2026-01-01","0"]',), ('["2026-01-01","1"]',)]
    sql = f"SELECT columnname, external_type FROM svv_external_columns {where} AND part_key = '1'"
    assert warehouse.rows(sql) == [("day", "string")]
    assert warehouse.rows(f"SELECT databasename FROM svv_external_schemas {where}") == [(lake,)]
    listed = warehouse.data.list_tables(SchemaPattern=lake, **warehouse.target)["Tables"]
    assert listed == [{"name": "events", "schema": lake, "type": "EXTERNAL TABLE"}]


def test_an_external_schema_needs_its_database_and_its_role(warehouse: Warehouse) -> None:
    database = f"new_{uuid.uuid4().hex[:8]}"
    create = f"CREATE EXTERNAL SCHEMA {database} FROM DATA CATALOG DATABASE '{database}' IAM_ROLE "
    assert "does not exist" in warehouse.error(f"{create} default")
    assert "not authorized" in warehouse.error(f"{create} 'arn:aws:iam::000000000000:role/no'")
    warehouse.run(f"{create} '{ROLE}' CREATE EXTERNAL DATABASE IF NOT EXISTS")
    assert warehouse.data.list_tables(SchemaPattern=database, **warehouse.target)["Tables"] == []
    warehouse.run(f"DROP SCHEMA {database}")


def test_copy_reads_csv_json_and_parquet(
    aws: EmbeddedAws, warehouse: Warehouse, table: str, bucket: str
) -> None:
    objects = {
        "in/a.csv": b'id,name,at\n1,"a,b",2026-01-02 03:04:05\n2,,\n',
        "in/b.json.gz": gzip.compress(b'{"id": 3, "name": "j", "more": 1}\n{"id": 4}\n'),
        "in/c.parquet": parquet(
            id=[5], name=["p"], at=pa.array([1_767_225_600_000_000], pa.timestamp("us"))
        ),
    }
    for key, body in objects.items():
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    copy = f"COPY {table} FROM 's3://{bucket}/in"
    assert warehouse.run(f"{copy}/a' IAM_ROLE default CSV IGNOREHEADER 1")["ResultRows"] == 2
    assert warehouse.run(f"{copy}/b' IAM_ROLE '{ROLE}' JSON 'auto' GZIP")["ResultRows"] == 2
    assert warehouse.run(f"{copy}/c' IAM_ROLE default FORMAT AS PARQUET")["ResultRows"] == 1
    assert warehouse.rows(f"SELECT * FROM {table} ORDER BY id") == [
        (1, "a,b", "2026-01-02 03:04:05"),
        (2, "", None),
        (3, "j", None),
        (4, None, None),
        (5, "p", "2026-01-01 00:00:00"),
    ]
    assert "does not exist" in warehouse.error(f"{copy}/none' IAM_ROLE default CSV")
    assert "IAM_ROLE" in warehouse.error(f"{copy}/a' CSV")
    assert "FIXEDWIDTH" in warehouse.error(f"{copy}/a' IAM_ROLE default FIXEDWIDTH 'a:1'")
    error = warehouse.error(f"{copy}/a' IAM_ROLE default CSV")  # its header is no number
    assert f"Load into table '{table}' failed" in error
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(5,)]


def test_unload_writes_through_s3_and_does_not_overwrite(
    aws: EmbeddedAws, warehouse: Warehouse, table: str, bucket: str
) -> None:
    warehouse.run(f"INSERT INTO {table} (id, name) VALUES (1, 'a'), (2, 'b')")
    s3 = aws.client("s3")
    query = f"UNLOAD ('SELECT id, name FROM {table} WHERE name <> ''c'' ORDER BY id')"
    unload = f"{query} TO 's3://{bucket}/out/u_' IAM_ROLE default CSV HEADER PARALLEL OFF"
    assert warehouse.run(unload)["ResultRows"] == 2
    body = s3.get_object(Bucket=bucket, Key="out/u_0000_part_00")["Body"].read()
    assert body == b"id,name\n1,a\n2,b\n"
    assert "not empty" in warehouse.error(unload)
    warehouse.run(f"{unload} ALLOWOVERWRITE")
    warehouse.run(f"{query} TO 's3://{bucket}/parts/' IAM_ROLE default PARQUET PARTITION BY (name)")
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix="parts/")["Contents"]]
    assert [key.split("/")[1] for key in keys] == ["name=a", "name=b"]
    rows = pq.read_table(io.BytesIO(s3.get_object(Bucket=bucket, Key=keys[1])["Body"].read()))
    assert rows.to_pylist() == [{"id": 2}]


# ---------------------------------------------------------------- procedures and defaults


def test_a_procedure_looks_before_it_leaps(warehouse: Warehouse) -> None:
    role, name = f"r_{uuid.uuid4().hex[:8]}", f"p_{uuid.uuid4().hex[:8]}"
    create = (
        f"CREATE OR REPLACE PROCEDURE {name} () AS $$ BEGIN "
        f"IF NOT EXISTS (SELECT role_name FROM svv_roles WHERE role_name = '{role}') "
        f"THEN EXECUTE 'CREATE ROLE {role}'; END IF; END; $$ LANGUAGE plpgsql"
    )
    for _ in range(2):
        warehouse.run(create)
        warehouse.run(f"CALL {name}()")
        assert warehouse.rows(f"SELECT role_name FROM svv_roles WHERE role_name = '{role}'")
        warehouse.run(f"DROP PROCEDURE {name}()")
    assert "does not exist" in warehouse.error(f"CALL {name}()")
    assert "does not exist" in warehouse.error(f"DROP PROCEDURE {name}()")
    assert "already exists" in warehouse.error(f"CREATE ROLE {role}")


def test_a_procedure_runs_all_or_nothing(warehouse: Warehouse, table: str) -> None:
    name = f"p_{uuid.uuid4().hex[:8]}"
    create = "CREATE PROCEDURE {} () AS $$ BEGIN {} END; $$ LANGUAGE plpgsql"
    body = f"INSERT INTO {table} (id) VALUES (1); INSERT INTO {table} (name) VALUES ('no id');"
    warehouse.run(create.format(name, body))
    assert "already exists" in warehouse.error(create.format(name, body))
    assert "NULL" in warehouse.error(f"CALL {name}()")
    assert warehouse.rows(f"SELECT COUNT(*) FROM {table}") == [(0,)]
    replace = create.replace("CREATE", "CREATE OR REPLACE")
    body = f"IF EXISTS (SELECT 1) THEN INSERT INTO {table} (id) VALUES (1); END IF;"
    warehouse.run(replace.format(name, body))
    warehouse.run(f"CALL {name}()")
    assert warehouse.rows(f"SELECT id FROM {table}") == [(1,)]
    warehouse.run(replace.format(name, "RAISE INFO 'x';"))
    assert '"RAISE" of PL/pgSQL is not available' in warehouse.error(f"CALL {name}()")
    assert "parameters" in warehouse.error(replace.format(name, "").replace("()", "(a INT)"))


def test_a_schemas_default_privileges_reach_what_is_made_later(warehouse: Warehouse) -> None:
    schema, role = f"s_{uuid.uuid4().hex[:8]}", f"r_{uuid.uuid4().hex[:8]}"
    warehouse.run(f"CREATE SCHEMA {schema}")
    default = "ALTER DEFAULT PRIVILEGES IN SCHEMA {} {} SELECT ON TABLES {} ROLE {}"
    grant = default.format(schema, "GRANT", "TO", role)
    assert "does not exist" in warehouse.error(grant)  # no such role
    warehouse.run(f"CREATE ROLE {role}")
    assert "does not exist" in warehouse.error(default.format("nowhere", "GRANT", "TO", role))
    warehouse.run(f"CREATE TABLE {schema}.before (id INT)")
    for _ in range(2):
        warehouse.run(grant)
    warehouse.run(f"CREATE TABLE {schema}.after (id INT)")
    warehouse.run(f"CREATE TABLE IF NOT EXISTS {schema}.after (id INT)")
    warehouse.run(f"CREATE VIEW {schema}.seen AS SELECT id FROM {schema}.after")
    warehouse.run(f"CREATE MATERIALIZED VIEW {schema}.kept AS SELECT id FROM {schema}.after")
    warehouse.run(default.format(schema, "REVOKE", "FROM", role))
    warehouse.run(f"CREATE TABLE {schema}.last AS SELECT 1 AS id")
    sql = "SELECT relation_name FROM svv_relation_privileges WHERE namespace_name = '{}' ORDER BY 1"
    assert warehouse.rows(sql.format(schema)) == [("after",), ("kept",), ("seen",)]
    assert "invalid privilege" in warehouse.error(grant.replace("SELECT", "FLY"))
    assert "syntax error" in warehouse.error("ALTER DEFAULT PRIVILEGES GRANT SELECT TO me")


# ---------------------------------------------------------------- Airflow


def test_airflows_hook_operator_and_trigger_work(
    aws: EmbeddedAws,
    warehouse: Warehouse,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    from airflow.providers.amazon.aws.operators.redshift_data import RedshiftDataOperator
    from airflow.providers.amazon.aws.triggers.redshift_data import RedshiftDataTrigger

    common: dict[str, Any] = {"aws_conn_id": None, "region_name": aws.region}
    load = RedshiftDataOperator(
        task_id="load",
        sql=[f"INSERT INTO {table} (id) VALUES (1)", f"SELECT COUNT(*) FROM {table}"],
        database=warehouse.database,
        workgroup_name=warehouse.name,
        poll_interval=1,
        return_sql_result=False,
        durable=False,
        **common,
    )
    parts = load.execute({})
    result = load.hook.conn.get_statement_result(Id=parts[1])
    assert result["Records"] == [[{"longValue": 1}]]

    def event(*sqls: str) -> dict[str, Any]:
        trigger = RedshiftDataTrigger(
            statement_id=warehouse.submit(*sqls), task_id="load", poll_interval=1, **common
        )

        async def first() -> dict[str, Any]:
            return (await anext(trigger.run())).payload

        return asyncio.run(first())

    assert event("SELECT 1", "SELECT 2")["status"] == "success"
    failed = event("SELECT 1", "SELECT no_column")
    assert failed["status"] == "error"
    assert "no_column" in failed["message"]


def test_a_usage_limit_lives_as_long_as_its_workgroup(serverless: Any, name: str) -> None:
    serverless.create_namespace(namespaceName=name)
    group = serverless.create_workgroup(workgroupName=name, namespaceName=name)["workgroup"]
    wanted = {
        "resourceArn": group["workgroupArn"],
        "usageType": "serverless-compute",
        "period": "daily",
        "amount": 24,
    }
    limit = serverless.create_usage_limit(**wanted, breachAction="deactivate")["usageLimit"]
    assert wanted.items() <= limit.items()
    with refused("ConflictException", "daily serverless-compute"):
        serverless.create_usage_limit(**wanted)
    identifier = limit["usageLimitId"]
    serverless.update_usage_limit(usageLimitId=identifier, amount=12)
    found = serverless.get_usage_limit(usageLimitId=identifier)["usageLimit"]
    assert found == limit | {"amount": 12}
    serverless.delete_workgroup(workgroupName=name)
    with refused("ResourceNotFoundException", identifier):
        serverless.get_usage_limit(usageLimitId=identifier)
    with refused("ResourceNotFoundException", "doesn't exist"):
        serverless.create_usage_limit(**wanted)


def test_a_managed_password_lies_in_secrets_manager(
    serverless: Any, aws: EmbeddedAws, name: str
) -> None:
    secrets = aws.client("secretsmanager")
    made = serverless.create_namespace(
        namespaceName=name, adminUsername="warehouse", manageAdminPassword=True
    )["namespace"]
    secret = secrets.get_secret_value(SecretId=made["adminPasswordSecretArn"])
    assert secret["Name"] == f"redshift!{name}-warehouse"
    assert json.loads(secret["SecretString"])["username"] == "warehouse"
    serverless.delete_namespace(namespaceName=name)
    with refused("ResourceNotFoundException"):
        secrets.get_secret_value(SecretId=made["adminPasswordSecretArn"])
