"""Erasing a person: the request, the warehouse's part, and the proof.

The id of the form becomes a digest in the first task and goes no further: neither into a task's
result, nor into Glue's arguments, nor into Redshift's history.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from clickstream.config import Config

log = logging.getLogger(__name__)

CONFIG = Config.from_environment()
#: Columns that say whose a row is; a key may be either kind of id.
KEYS = ("user_key", "person_key")
#: Columns that may hold the same text and mean something else: product 17 is not user 17.
OTHER_NAMES = frozenset({"product_id", "order_id"})

Counts = dict[str, int]


def digest(salt: str, kind: str, id: str) -> str:
    """What a tombstone is named after (see glue/clickstream_glue/tombstones.py).

    Args:
        salt: the lake's.
        kind: ``user`` or ``anonymous``.
        id: as the events have it.
    """
    return hashlib.sha256(f"{salt}:{kind}:{id}".encode()).hexdigest()


def requested_id(form: Mapping[str, Any]) -> str:
    """The id that the form asks to erase.

    Raises:
        ValueError: one sentence, which does not repeat the id.
    """
    if not form["user_id"].strip():
        raise ValueError("user_id is blank; give the id as the events have it")
    if form["user_id"] != form["confirm_user_id"]:
        raise ValueError("confirm_user_id is not the same as user_id; type the id twice")
    return form["user_id"]


def owner_predicate(columns: list[str], plan: Mapping[str, Any]) -> str:
    """SQL that holds for the person's rows of a table with these columns of text.

    Args:
        columns: names of the table's columns.
        plan: what the erasing job wrote down: digests `user` and `anonymous`.
    """
    known = [name for name in ("user_id", *KEYS) if name in columns]
    terms = [_is_one_of("user", name, [plan["user"]]) for name in known]
    return " OR ".join(terms + _anonymous_terms(columns, plan)) or "1 = 0"


def mention_predicate(columns: list[str], plan: Mapping[str, Any]) -> str:
    """SQL that holds for rows that are the person's, or name the user id in any column."""
    named = [name for name in columns if name not in OTHER_NAMES]
    terms = [_is_one_of("user", name, [plan["user"]]) for name in named]
    return " OR ".join(terms + _anonymous_terms(columns, plan)) or "1 = 0"


def _anonymous_terms(columns: list[str], plan: Mapping[str, Any]) -> list[str]:
    if not plan["anonymous"]:
        return []
    names = [name for name in ("anonymous_id", *KEYS) if name in columns]
    # Where somebody else is logged in, the row is that person's.
    alone = "user_id IS NULL AND " if "user_id" in columns else ""
    return [f"({alone}{_is_one_of('anonymous', name, plan['anonymous'])})" for name in names]


def _is_one_of(kind: str, column: str, digests: list[str]) -> str:
    listed = ", ".join(f"'{each}'" for each in digests)
    return f"sha2(:salt || ':{kind}:' || {column}, 256) IN ({listed})"


def proof(
    plan: Mapping[str, Any],
    after: Mapping[str, Any],
    warehouse_before: Counts,
    warehouse_left: Counts,
) -> dict[str, Any]:
    """The report: what was there, what was read, what is left; no id in it.

    Args:
        plan: what the erasing job wrote down before it changed anything.
        after: what the same job found when it read everything again.
        warehouse_before: rows by table before the erasure.
        warehouse_left: rows by table after it.

    Raises:
        ValueError: the second reading is an earlier erasure's.
    """
    if after["plan"] != plan["id"]:
        raise ValueError("prove_lake has not run since erase_lake: clear it")
    left = {place: max(found["count"], found["values"]) for place, found in after["left"].items()}
    left |= {f"redshift/{table}": count for table, count in warehouse_left.items() if count}
    read = (
        f"{after['version_count']:,} object versions in {len(after['buckets'])} buckets "
        f"and {len(warehouse_left)} tables"
    )
    places = ", ".join(f"{place} {count}" for place, count in sorted(left.items()))
    return {
        "plan": plan["id"],
        "user": plan["user"],
        "anonymous_count": len(plan["anonymous"]),
        "is_erased": not left,
        "summary": f"{places or 'nothing'} is left of the person in {read}",
        "started_at": plan["started_at"],
        "days": plan["days"],
        "days_without_raw": plan["days_without_raw"],
        "before": {**plan["before"], **_in_redshift(warehouse_before)},
        "left": {**after["left"], **_in_redshift(warehouse_left)},
        "buckets": after["buckets"],
        "version_count": after["version_count"],
        "tables": sorted(warehouse_left),
    }


def _in_redshift(counts: Counts) -> dict[str, dict[str, int]]:
    return {f"redshift/{table}": {"count": n} for table, n in sorted(counts.items()) if n}


@task
def check_request() -> str:
    """The digest of the id that the form names twice."""
    from airflow.sdk.log import mask_secret

    try:
        user_id = requested_id(get_current_context()["params"])
    except ValueError as error:
        raise AirflowFailException(str(error)) from None
    mask_secret(user_id)
    return digest(_salt(), "user", user_id)


@task
def erase_warehouse() -> Counts:
    """The person's rows leave Redshift; returns how many had named him, by table."""
    plan, salt = _read("plan.json"), _salt()
    counts = {}
    for table, columns in _text_columns().items():
        counts[table] = _count(table, mention_predicate(columns, plan), salt)
        if counts[table]:
            _ask("redshift/erasure/delete.sql", salt, table, owner_predicate(columns, plan))
    return counts


@task
def read_plan() -> list[dict[str, Any]]:
    """A run of clickstream_daily for each day whose lines have changed."""
    plan = _read("plan.json")
    if plan["days_without_raw"]:
        log.warning("Raw objects of %s have expired: only rows went", plan["days_without_raw"])
    return [
        {"trigger_run_id": f"erase_{plan['id'][-12:]}_{day}", "conf": {"date": day}}
        for day in plan["days"]
    ]


@task
def publish_proof() -> str:
    """Write the report; fails, naming the places, unless nothing is left."""
    plan, salt = _read("plan.json"), _salt()
    warehouse_left = {
        table: _count(table, mention_predicate(columns, plan), salt)
        for table, columns in _text_columns().items()
    }
    warehouse_before = get_current_context()["ti"].xcom_pull(task_ids="erase_warehouse")
    report = proof(plan, _read("after.json"), warehouse_before, warehouse_left)
    s3: Any = _s3().get_conn()
    key = _key("proof.json")
    s3.put_object(
        Bucket=CONFIG.buckets.results,
        Key=key,
        Body=json.dumps(report, indent=2).encode(),
        ContentType="application/json",
    )
    if not report["is_erased"]:
        raise AirflowFailException(
            f"{report['summary']}; clear erase_lake and what follows, and read docs/runbook.md"
        )
    log.info("%s", report["summary"])
    return f"s3://{CONFIG.buckets.results}/{key}"


def _s3() -> Any:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook(region_name=CONFIG.region)


def _salt() -> str:
    key = f"{CONFIG.prefixes.tombstones}salt"
    return _s3().read_key(key, CONFIG.buckets.artifacts)


def _key(name: str) -> str:
    user = get_current_context()["ti"].xcom_pull(task_ids="check_request")
    return f"{CONFIG.prefixes.erasures}{user}/{name}"


def _read(name: str) -> dict[str, Any]:
    try:
        return json.loads(_s3().read_key(_key(name), CONFIG.buckets.results))
    except ClientError as error:
        raise LookupError(f"the erasing job left no {name}; clear erase_lake") from error


def _text_columns() -> dict[str, list[str]]:
    from clickstream.engines import redshift_rows

    columns = defaultdict(list)
    for row in redshift_rows(CONFIG, "redshift/erasure/columns.sql"):
        columns[row["table_name"]].append(row["column_name"])
    return dict(columns)


def _count(table: str, person: str, salt: str) -> int:
    hook, statement = _ask("redshift/erasure/count.sql", salt, table, person)
    ((count,),) = hook.conn.get_statement_result(Id=statement)["Records"]
    return int(count["longValue"])


def _ask(path: str, salt: str, table: str, person: str) -> tuple[Any, str]:
    from airflow.providers.amazon.aws.hooks.redshift_data import RedshiftDataHook

    from clickstream.engines import render

    hook = RedshiftDataHook(region_name=CONFIG.region)
    asked = hook.execute_query(
        render(CONFIG, path, table=table, person=person),
        database=CONFIG.redshift.database,
        workgroup_name=CONFIG.redshift.workgroup,
        parameters=[{"name": "salt", "value": salt}] if ":salt" in person else None,
        poll_interval=1,
    )
    return hook, asked.statement_id
