"""The own operators where the provider's fall short; the end-to-end tests run them for real."""

from __future__ import annotations

import json

import pytest
from airflow.sdk.bases.operator import TriggerFailureReason
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout
from clickstream.operators import ExistingGlueJobOperator, RawObjectSensor

from tests.conftest import EmbeddedAws


@pytest.fixture
def connection(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"region_name": aws.region, "endpoint_url": aws.endpoint}
    value = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))


@pytest.mark.usefixtures("connection")
def test_a_missing_job_is_not_created_but_named() -> None:
    operator = ExistingGlueJobOperator(task_id="clean_events", job_name="no-such-job")
    with pytest.raises(AirflowFailException, match="the Glue job no-such-job does not exist"):
        operator.execute({})


def test_an_interval_that_stays_empty_says_so_and_what_to_do() -> None:
    sensor = RawObjectSensor(
        task_id="wait_for_raw",
        bucket_name="raw",
        bucket_key="clickstream/year=2026/month=11/day=20/*",
        wildcard_match=True,
        timeout=60,
        deferrable=True,
    )
    with pytest.raises(AirflowSensorTimeout) as caught:
        sensor.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, {})
    message = str(caught.value)
    assert "no object matches clickstream/year=2026/month=11/day=20/* in raw after 60 s" in message
    assert "mark this run as success" in message
