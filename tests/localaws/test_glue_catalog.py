"""The Glue data catalog by boto3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import EmbeddedAws

COLUMNS = [{"Name": "id", "Type": "string"}]
KEYS = [{"Name": "year", "Type": "int"}, {"Name": "day", "Type": "string"}]


@pytest.fixture
def glue(aws: EmbeddedAws) -> Any:
    return aws.client("glue")


@pytest.fixture
def database(glue: Any) -> Iterator[str]:
    name = f"db_{uuid.uuid4().hex[:8]}"
    glue.create_database(DatabaseInput={"Name": name}, Tags={"team": "a"})
    yield name
    glue.delete_database(Name=name)


@pytest.fixture
def table(glue: Any, database: str) -> dict[str, str]:
    definition = {"Name": "Clicks", "StorageDescriptor": {"Columns": COLUMNS}}
    glue.create_table(DatabaseName=database, TableInput=definition | {"PartitionKeys": KEYS})
    return {"DatabaseName": database, "TableName": "clicks"}


def partition(year: int, day: int, **more: Any) -> dict[str, Any]:
    return {"Values": [str(year), f"{day:02}"], "StorageDescriptor": {"Columns": COLUMNS}} | more


def refused(code: str, text: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\).*{text}")


def test_a_database_is_changed_and_deleted_with_its_tables(glue: Any, aws: EmbeddedAws) -> None:
    name = f"gone_{uuid.uuid4().hex[:8]}"
    arn = f"arn:aws:glue:us-east-1:000000000000:database/{name}"
    glue.create_database(DatabaseInput={"Name": name.upper()}, Tags={"a": "b"})
    assert glue.get_tags(ResourceArn=arn)["Tags"] == {"a": "b"}
    with refused("AlreadyExistsException", name):
        glue.create_database(DatabaseInput={"Name": name})
    glue.update_database(Name=name, DatabaseInput={"Name": name, "Description": "new"})
    assert glue.get_database(Name=name)["Database"]["Description"] == "new"
    glue.create_table(DatabaseName=name, TableInput={"Name": "t"})
    glue.delete_database(Name=name)
    with refused("EntityNotFoundException", name):
        glue.get_tables(DatabaseName=name)
    glue.create_database(DatabaseInput={"Name": name})
    assert glue.get_tables(DatabaseName=name)["TableList"] == []
    assert glue.get_tags(ResourceArn=arn)["Tags"] == {}
    glue.delete_database(Name=name)


def test_databases_and_tables_are_listed_in_pages(glue: Any, database: str) -> None:
    for number in range(5):
        glue.create_table(DatabaseName=database, TableInput={"Name": f"t{number}"})
    pages = glue.get_paginator("get_tables").paginate(
        DatabaseName=database, Expression="t[0-3]", PaginationConfig={"PageSize": 3}
    )
    assert [[table["Name"] for table in page["TableList"]] for page in pages] == [
        ["t0", "t1", "t2"],
        ["t3"],
    ]
    pages = glue.get_paginator("get_databases").paginate(PaginationConfig={"PageSize": 1})
    assert database in [page["DatabaseList"][0]["Name"] for page in pages]
    answer = glue.batch_delete_table(DatabaseName=database, TablesToDelete=["t1", "nope"])
    assert [error["TableName"] for error in answer["Errors"]] == ["nope"]
    assert len(glue.get_tables(DatabaseName=database)["TableList"]) == 4


def test_an_update_makes_a_version_and_needs_the_current_one(
    glue: Any, database: str, table: dict[str, str]
) -> None:
    first = glue.get_table(DatabaseName=database, Name="CLICKS")["Table"]
    assert (first["Name"], first["PartitionKeys"]) == ("clicks", KEYS)
    change = {"Name": "clicks", "PartitionKeys": KEYS, "Description": "second"}
    glue.update_table(DatabaseName=database, TableInput=change, VersionId=first["VersionId"])
    with refused("ConcurrentModificationException", "read it again"):
        glue.update_table(DatabaseName=database, TableInput=change, VersionId=first["VersionId"])
    glue.update_table(DatabaseName=database, TableInput=change, SkipArchive=True)
    versions = glue.get_table_versions(**table)["TableVersions"]
    assert [version["VersionId"] for version in versions] == ["2", "0"]
    assert [version["Table"].get("Description") for version in versions] == ["second", None]
    with refused("AlreadyExistsException", "clicks"):
        glue.create_table(DatabaseName=database, TableInput={"Name": "clicks"})
    with refused("EntityNotFoundException", "nope"):
        glue.get_table(DatabaseName=database, Name="nope")


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("year = 2026", 10),
        ("year = '2026' AND day = '03'", 1),
        ("year >= 2026 and (day in ('01', '09') or day like '1%')", 3),
        ("day BETWEEN '02' AND '04' AND year <> 2025", 3),
        ("year = 1999", 0),
        ("", 12),
    ],
)
def test_an_expression_chooses_the_partitions(
    glue: Any, table: dict[str, str], expression: str, days: int
) -> None:
    given = [partition(2026, day) for day in range(1, 11)] + [partition(2025, d) for d in (2, 3)]
    glue.batch_create_partition(**table, PartitionInputList=given)
    pages = list(
        glue.get_paginator("get_partitions").paginate(
            **table, Expression=expression, PaginationConfig={"PageSize": 5}
        )
    )
    assert sum(len(page["Partitions"]) for page in pages) == days
    assert len(pages) == max(-(-days // 5), 1)


@pytest.mark.parametrize("expression", ["hour = 1", "year ===", "year = (SELECT 1)", "year = 'x'"])
def test_a_wrong_expression_is_refused(glue: Any, table: dict[str, str], expression: str) -> None:
    glue.create_partition(**table, PartitionInput=partition(2026, 1))
    with refused("InvalidInputException", "expression"):
        glue.get_partitions(**table, Expression=expression)


def test_a_batch_answers_for_each_partition(glue: Any, table: dict[str, str]) -> None:
    given = [partition(2026, day) for day in range(100)]
    assert glue.batch_create_partition(**table, PartitionInputList=given)["Errors"] == []
    with refused("ValidationException", "100"):
        glue.batch_create_partition(**table, PartitionInputList=[*given, partition(1, 1)])
    (error,) = glue.batch_create_partition(
        **table, PartitionInputList=[partition(2026, 1), partition(2027, 1)]
    )["Errors"]
    assert error["PartitionValues"] == ["2026", "01"]
    assert error["ErrorDetail"]["ErrorCode"] == "AlreadyExistsException"
    wanted = [{"Values": ["2027", "01"]}, {"Values": ["1", "1"]}]
    found = glue.batch_get_partition(**table, PartitionsToGet=wanted)["Partitions"]
    assert [item["Values"] for item in found] == [["2027", "01"]]
    errors = glue.batch_update_partition(
        **table,
        Entries=[
            {"PartitionValueList": item["Values"], "PartitionInput": {"Parameters": {"k": "v"}}}
            for item in wanted
        ],
    )["Errors"]
    assert [item["PartitionValueList"] for item in errors] == [["1", "1"]]
    answer = glue.get_partition(**table, PartitionValues=["2027", "01"])["Partition"]
    assert answer["Parameters"] == {"k": "v"}
    errors = glue.batch_delete_partition(**table, PartitionsToDelete=wanted)["Errors"]
    assert [item["PartitionValues"] for item in errors] == [["1", "1"]]
    with refused("EntityNotFoundException", "2027"):
        glue.get_partition(**table, PartitionValues=["2027", "01"])


def test_a_partition_has_a_value_for_each_key_and_can_be_moved(
    glue: Any, table: dict[str, str]
) -> None:
    with refused("InvalidInputException", "number of partition keys"):
        glue.create_partition(**table, PartitionInput={"Values": ["2026"]})
    glue.create_partition(**table, PartitionInput=partition(2026, 1))
    with refused("AlreadyExistsException", "2026"):
        glue.create_partition(**table, PartitionInput=partition(2026, 1))
    glue.update_partition(
        **table, PartitionValueList=["2026", "01"], PartitionInput=partition(2026, 2)
    )
    (moved,) = glue.get_partitions(**table)["Partitions"]
    assert moved["Values"] == ["2026", "02"]
    glue.delete_partition(**table, PartitionValues=["2026", "02"])
    assert glue.get_partitions(**table)["Partitions"] == []
