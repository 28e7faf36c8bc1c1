"""Rules of the house that every DAG file keeps (docs: CONTRIBUTING)."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clickstream.defaults import LAKE_POOL, LAKE_SLOTS, POOLS_FILE

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
#: Every DAG, by name: a file that is added or lost must be noticed.
DAGS = [
    "clickstream_daily",
    "clickstream_erase_user",
    "clickstream_maintenance",
    "clickstream_replay_quarantine",
]
#: Those that somebody starts by hand.
UNSCHEDULED = {"clickstream_erase_user", "clickstream_replay_quarantine"}
VERBS = (
    "add|build|refresh|resolve|wait|repair|clean|crawl|read|check|load|publish|erase|rerun|prove"
    "|count|replay|compact|expire"
)
HEAVY = ("great_expectations", "pandas", "pyathena", "pyspark", "duckdb")

PARSE = """
import json, socket, sys, time

def refuse(*arguments, **options):
    raise AssertionError("a DAG file opened a connection while it was parsed")

from airflow.dag_processing.dagbag import DagBag  # Airflow's own start-up is not the DAG's

socket.socket.connect = refuse
socket.getaddrinfo = refuse
started = time.monotonic()
bag = DagBag("dags")
print(json.dumps({
    "seconds": time.monotonic() - started,
    "errors": bag.import_errors,
    "modules": sorted(sys.modules),
    "dags": {
        dag.dag_id: {
            "dag_id": dag.dag_id,
            "file": dag.fileloc,
            "timetable": type(dag.timetable).__name__,
            "timezone": str(dag.timezone),
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "tags": sorted(dag.tags),
            "doc_md": dag.doc_md,
            "timeout": dag.dagrun_timeout is not None,
            "tasks": {
                task.task_id: {
                    "retries": task.retries,
                    "backs_off": bool(task.retry_exponential_backoff),
                    "timeout": task.execution_timeout is not None,
                    "deferrable": (task.partial_kwargs if task.is_mapped else vars(task)).get(
                        "deferrable"
                    ),
                    "downstream": sorted(task.downstream_task_ids),
                    "is_teardown": task.is_teardown,
                    "pool": [task.pool, task.pool_slots],
                    "trigger_rule": task.trigger_rule.value,
                    "on_failure_fail_dagrun": task.on_failure_fail_dagrun,
                }
                for task in dag.tasks
            },
        }
        for dag in bag.dags.values()
    },
}))
"""


@pytest.fixture(scope="module")
def bag(in_airflow: Callable[..., str]) -> dict[str, Any]:
    return json.loads(in_airflow(PARSE).splitlines()[-1])


@pytest.fixture(scope="module", params=DAGS)
def dag(bag: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    return bag["dags"][request.param]


def test_the_bag_holds_exactly_the_registered_dags(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert sorted(bag["dags"]) == DAGS == [path.stem for path in FILES]


def test_parsing_is_quick_and_touches_neither_the_network_nor_heavy_libraries(
    bag: dict[str, Any],
) -> None:
    assert bag["seconds"] < 20  # 1 s on an idle machine; its providers are imported here
    assert [name for name in HEAVY if name in bag["modules"]] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dag_file_reads_as_prose(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree) or ""
    headings = re.findall(r"^### (.+)$", docstring, re.MULTILINE)
    assert headings == ["Why", "Schedule", "Reads / Writes", "If it fails", "Rerun"]
    assert len(text.splitlines()) <= 180
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == [path.stem]
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    last = function.body[-1]
    assert isinstance(last, ast.Expr)
    assert isinstance(last.value, ast.Call)
    assert ast.unparse(last.value.func) == "chain"
    assert text.count("chain(") == 1
    for banned in (".now(", ".today(", "Variable", "boto3", "latest", "SELECT", "INSERT"):
        assert banned not in text.replace(docstring, ""), banned


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_tasks_id_is_its_variables_name(path: Path) -> None:
    named = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for call in ast.walk(node.value):
                if isinstance(call, ast.Call):
                    for keyword in call.keywords:
                        if keyword.arg == "task_id":
                            named[ast.unparse(node.targets[0])] = ast.literal_eval(keyword.value)
    assert named
    assert {variable: task_id for variable, task_id in named.items() if variable != task_id} == {}


def test_the_schedule_is_explicit(dag: dict[str, Any]) -> None:
    wanted = "NullTimetable" if dag["dag_id"] in UNSCHEDULED else "CronDataIntervalTimetable"
    assert dag["timetable"] == wanted
    assert dag["timezone"] == "UTC"
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1
    assert dag["timeout"]


def test_the_docstring_is_the_runbook_that_airflow_shows(dag: dict[str, Any]) -> None:
    docstring = ast.get_docstring(ast.parse(Path(dag["file"]).read_text())) or ""
    assert dag["doc_md"].strip() == docstring.strip()


def test_tags_name_the_product_and_one_impact_tier(dag: dict[str, Any]) -> None:
    assert "clickstream" in dag["tags"]
    assert len([tag for tag in dag["tags"] if re.fullmatch(r"impact:tier-[123]", tag)]) == 1


def test_every_task_has_a_verb_retries_back_off_and_a_timeout(dag: dict[str, Any]) -> None:
    assert dag["tasks"]
    for name, task in dag["tasks"].items():
        assert re.fullmatch(rf"({VERBS})(_[a-z]+)+", name)
        assert task["retries"] >= 2, name
        assert task["backs_off"], name
        assert task["timeout"], name
        assert task["deferrable"] is not False, name


def test_every_task_holds_a_slot_of_the_lake_and_compaction_all_of_them(
    dag: dict[str, Any],
) -> None:
    # A deferred task must go on holding its slot: its job runs.
    assert json.loads(POOLS_FILE.read_text())[LAKE_POOL]["include_deferred"] is True
    slots = {name: LAKE_SLOTS if name == "compact_lake" else 1 for name in dag["tasks"]}
    assert {name: task["pool"] for name, task in dag["tasks"].items()} == {
        name: [LAKE_POOL, number] for name, number in slots.items()
    }


def test_a_failure_before_the_report_leaves_the_run_red(dag: dict[str, Any]) -> None:
    # Airflow judges a run by its leaves. A teardown is not one, unless it may fail the run itself:
    # then its success would hide what failed before it.
    (last,) = (task for task in dag["tasks"].values() if not task["downstream"])
    assert not last["on_failure_fail_dagrun"]
    assert last["is_teardown"] or last["trigger_rule"] in ("all_success", "none_failed")
