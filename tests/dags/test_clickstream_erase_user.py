"""What clickstream_erase_user asks of AWS and of clickstream_daily: rendered by Airflow itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

RENDER = """
import json
from airflow.dag_processing.dagbag import DagBag

dag = DagBag("dags").dags["clickstream_erase_user"]

class Xcoms:
    def xcom_pull(self, task_ids, **_):
        return {"check_request": "0" * 64}[task_ids]

rendered = {}
for name in ("erase_lake", "prove_lake"):
    task = dag.get_task(name)
    task.render_template_fields({
        "ti": Xcoms(), "dag": dag,
        "params": {"user_id": "u-17", "confirm_user_id": "u-17", "with_anonymous_ids": True},
    })
    rendered[name] = {"job_name": task.job_name, **task.script_args}
rerun = dag.get_task("rerun_days").partial_kwargs
rendered["rerun_days"] = {
    name: rerun[name] for name in (
        "trigger_dag_id", "wait_for_completion", "reset_dag_run", "max_active_tis_per_dagrun",
    )
}
rendered["prove_rule"] = dag.get_task("prove_lake").trigger_rule.value
rendered["form"] = {name: param.value for name, param in dag.params.items()}
print(json.dumps(rendered, default=str))
"""


@pytest.fixture(scope="module")
def rendered(in_airflow: Callable[..., str]) -> dict:
    return json.loads(in_airflow(RENDER).splitlines()[-1])


def test_glue_is_told_a_digest_and_never_the_id(rendered: dict) -> None:
    for task, step in (("erase_lake", "erase"), ("prove_lake", "prove")):
        assert rendered[task] == {
            "job_name": "clickstream-dev-erase-user",
            "--step": step,
            "--user": "0" * 64,
            "--with-anonymous": "true",
        }


def test_the_days_are_run_again_one_by_one_and_waited_for(rendered: dict) -> None:
    assert rendered["rerun_days"] == {
        "trigger_dag_id": "clickstream_daily",
        "wait_for_completion": True,
        "reset_dag_run": True,
        "max_active_tis_per_dagrun": 1,
    }


def test_the_proof_is_made_also_where_no_day_had_to_be_run_again(rendered: dict) -> None:
    assert rendered["prove_rule"] == "none_failed"


def test_an_empty_form_erases_nobody(rendered: dict) -> None:
    assert rendered["form"]["user_id"] == rendered["form"]["confirm_user_id"] == ""
