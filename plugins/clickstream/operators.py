"""Provider operators with the gaps closed that this pipeline falls into."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.operators.glue import GlueJobOperator
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout
from botocore.exceptions import ClientError


class ExistingGlueJobOperator(GlueJobOperator):
    """Runs a job that Terraform made.

    A missing job fails (the provider would create one); while the job's concurrent runs are used
    up the task waits, without spending a retry; a failed run fails the task with Glue's own message
    (the provider's says only that a waiter failed).
    """

    def execute(self, context: Context, event: Any = None) -> str | None:
        """Start the run, or look again later; `event` is what a wait ended with."""
        if not self.hook.has_job(self.job_name):
            raise AirflowFailException(
                f"the Glue job {self.job_name} does not exist; Terraform creates it "
                "(make aws on a laptop)"
            )
        try:
            return super().execute(context)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConcurrentRunsExceededException":
                raise
        self.log.info("All concurrent runs of %s are in use; waiting for one.", self.job_name)
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds=self.waiter_delay)), method_name="execute"
        )
        return None

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Return the run's id, or raise what Glue says about it."""
        if event and event["status"] != "success":
            glue: Any = self.hook.conn
            run = glue.get_job_run(JobName=self.job_name, RunId=event["run_id"])["JobRun"]
            raise AirflowException(
                f"run {run['Id']} of the Glue job {self.job_name} is {run['JobRunState']}: "
                f"{run.get('ErrorMessage') or event['message']}"
            )
        return super().execute_complete(context, event)


class RawObjectSensor(S3KeySensor):
    """Waits for a first raw object; an interval that stays empty fails with what to do."""

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Continue after the trigger, which may have timed out."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(
                f"no object matches {self.bucket_key} in {self.bucket_name} after "
                f"{self.timeout:.0f} s; if the interval truly had no traffic mark this run as "
                "success, else look at Firehose and clear this task"
            ) from error
