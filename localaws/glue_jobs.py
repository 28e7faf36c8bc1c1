"""Glue's API of jobs and job runs."""

from __future__ import annotations

import secrets
import shutil
import threading
from typing import Any

from localaws.glue_run import Run, log_group, work_folder
from localaws.glue_tags import GlueTags
from localaws.service import AwsError, Context, Request, Response, now, page

_DEFAULT_TIMEOUT_MINUTES = 480
_ALIVE = ("STARTING", "RUNNING", "STOPPING")
_DPU = {"Standard": 1, "G.025X": 0.25, "Z.2X": 2}
_DPU |= {f"{family}.{n}X": n for family in "GR" for n in (1, 2, 4, 8, 12, 16)}
#: What StartJobRun may set for one run; a run shows the job's values of the others.
_RUN_SETTINGS = (
    "AllocatedCapacity",
    "ExecutionClass",
    "MaxCapacity",
    "NotificationProperty",
    "NumberOfWorkers",
    "SecurityConfiguration",
    "Timeout",
    "WorkerType",
)
_JOB_SETTINGS = ("GlueVersion", "JobMode", "MaintenanceWindow")


class GlueJobs(GlueTags):
    """Jobs are kept as GetJob answers them, runs as GetJobRun does."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = context.state.table("glue_jobs")
        self._runs = context.state.table("glue_job_runs")
        self._live_runs: dict[str, Run] = {}
        self._job_lock = threading.RLock()

    def start(self) -> None:
        """Fail the runs that the end of the embedded AWS cut off."""
        super().start()
        for run in self._runs.values():
            if run["JobRunState"] in _ALIVE:
                message = "The embedded AWS ended while the job ran; start the job again"
                self._end(run["Id"], "FAILED", message)
        # A Java that outlived its parent by a moment may still write there.
        shutil.rmtree(work_folder(self.context), ignore_errors=True)

    def stop(self) -> None:
        """Kill the live runs; the next start fails them."""
        with self._job_lock:
            for run in self._live_runs.values():
                run.abandon()
        super().stop()

    def CreateJob(self, request: Request) -> Response:
        """Repeated with the same definition it changes nothing."""
        job = _job(request["Name"], request)
        with self._job_lock:
            existing = self._jobs.get(job["Name"])
            if existing and _definition(existing) != _definition(job):
                raise AwsError(
                    "IdempotentParameterMismatchException",
                    f"Job with name: {job['Name']} already submitted with different configuration",
                )
            if not existing:
                self._jobs[job["Name"]] = job
        self._tag(f"job/{job['Name']}", request.get("Tags"))
        return {"Name": job["Name"]}

    def UpdateJob(self, request: Request) -> Response:
        """Replaces the whole definition, as AWS does."""
        with self._job_lock:
            existing = self._job(request["JobName"])
            job = _job(existing["Name"], request["JobUpdate"])
            self._jobs[existing["Name"]] = job | {"CreatedOn": existing["CreatedOn"]}
        return {"JobName": existing["Name"]}

    def DeleteJob(self, request: Request) -> Response:
        """A job that does not exist is no error; live runs go on to their end."""
        name = request["JobName"]
        with self._job_lock:
            self._jobs.pop(name)
            for run in self._runs_of(name):
                if run["JobRunState"] not in _ALIVE:
                    self._runs.pop(run["Id"])
        self._untag(f"job/{name}")
        return {"JobName": name}

    def GetJob(self, request: Request) -> Response:
        """One job."""
        return {"Job": self._job(request["JobName"])}

    def GetJobs(self, request: Request) -> Response:
        """All jobs, paged."""
        jobs, rest = page(self._jobs.values(), request, limit=1000)
        return {"Jobs": jobs, **rest}

    def ListJobs(self, request: Request) -> Response:
        """Names of the jobs that carry the tags, paged."""
        names = self._tagged("job", self._jobs, request.get("Tags"))
        names, rest = page(names, request, limit=1000)
        return {"JobNames": names, **rest}

    def BatchGetJobs(self, request: Request) -> Response:
        """Several jobs by name."""
        found = {name: self._jobs.get(name) for name in request["JobNames"]}
        return {
            "Jobs": [job for job in found.values() if job],
            "JobsNotFound": [name for name, job in found.items() if not job],
        }

    def StartJobRun(self, request: Request) -> Response:
        """Start a run; with JobRunId, repeat that run with its arguments."""
        name = request["JobName"]
        with self._job_lock:
            job = self._job(name)
            run = _capacity(
                {key: job[key] for key in (*_RUN_SETTINGS, *_JOB_SETTINGS) if key in job}
                | {key: request[key] for key in _RUN_SETTINGS if key in request}
            )
            run["Arguments"] = request.get("Arguments") or {}
            if previous := request.get("JobRunId"):
                run["Arguments"] = self._run(name, previous)["Arguments"] | run["Arguments"]
                run["PreviousRunId"] = previous
            fixed = job.get("NonOverridableArguments", {})
            if clash := sorted(fixed.keys() & run["Arguments"].keys()):
                raise AwsError(
                    "InvalidInputException", f"{clash[0]} of {name} cannot be overridden"
                )
            alive = sum(run["JobRunState"] in _ALIVE for run in self._runs_of(name))
            if alive >= job["ExecutionProperty"]["MaxConcurrentRuns"]:
                raise AwsError(
                    "ConcurrentRunsExceededException",
                    f"Concurrent runs exceeded for {name}: {alive} alive; wait for them or raise "
                    "MaxConcurrentRuns",
                )
            run_id = f"jr_{secrets.token_hex(32)}"
            self._launch(job, {"Id": run_id, "Attempt": 0, "JobName": name, **run})
        return {"JobRunId": run_id}

    def GetJobRun(self, request: Request) -> Response:
        """One run."""
        return {"JobRun": self._run(request["JobName"], request["RunId"])}

    def GetJobRuns(self, request: Request) -> Response:
        """A job's runs, the newest first, paged."""
        self._job(request["JobName"])
        runs, rest = page(self._runs_of(request["JobName"])[::-1], request, limit=200)
        return {"JobRuns": runs, **rest}

    def BatchStopJobRun(self, request: Request) -> Response:
        """Kill runs: STOPPING at once, STOPPED when what they wrote has reached S3."""
        name = request["JobName"]
        stopped: list[Response] = []
        errors: list[Response] = []
        with self._job_lock:
            for run_id in request["JobRunIds"]:
                try:
                    state = self._run(name, run_id)["JobRunState"]
                    if state not in _ALIVE:
                        raise AwsError("InvalidInputException", f"Job run {run_id} is {state}")
                except AwsError as error:
                    detail = {"ErrorCode": error.code, "ErrorMessage": error.message}
                    errors.append({"JobName": name, "JobRunId": run_id, "ErrorDetail": detail})
                    continue
                self._update(run_id, JobRunState="STOPPING")
                self._live_runs[run_id].stop()
                stopped.append({"JobName": name, "JobRunId": run_id})
        return {"SuccessfulSubmissions": stopped, "Errors": errors}

    def _job(self, name: str) -> dict[str, Any]:
        if job := self._jobs.get(name):
            return job
        raise AwsError("EntityNotFoundException", f"Job {name} does not exist; create it first")

    def _run(self, job: str, run_id: str) -> dict[str, Any]:
        run = self._runs.get(run_id)
        if run and run["JobName"] == job:
            return run
        raise AwsError("EntityNotFoundException", f"Job {job} has no run {run_id}")

    def _runs_of(self, job: str) -> list[dict[str, Any]]:
        return [run for run in self._runs.values() if run["JobName"] == job]

    def _record(self, run_id: str) -> dict[str, Any]:
        if (run := self._runs.get(run_id)) is None:
            raise KeyError(run_id)
        return run

    def _launch(self, job: dict[str, Any], run: dict[str, Any]) -> None:
        arguments = (
            job.get("DefaultArguments", {})
            | run["Arguments"]
            | job.get("NonOverridableArguments", {})
        )
        run_id, time = run["Id"], now().timestamp()
        self._runs[run_id] = run | {
            "JobRunState": "STARTING",
            "StartedOn": time,
            "LastModifiedOn": time,
            "ExecutionTime": 0,
            "PredecessorRuns": [],
            "LogGroupName": log_group(arguments),
        }
        self._live_runs[run_id] = live = Run(
            self.context,
            job,
            run,
            arguments,
            started=lambda: self._started(run_id),
            ended=lambda state, message: self._ended(job, run_id, state, message),
        )
        live.start()

    def _started(self, run_id: str) -> None:
        with self._job_lock:
            if self._record(run_id)["JobRunState"] == "STARTING":  # else it is STOPPING
                self._update(run_id, JobRunState="RUNNING")

    def _ended(self, job: dict[str, Any], run_id: str, state: str, message: str) -> None:
        with self._job_lock:
            run = self._end(run_id, state, message)
            del self._live_runs[run_id]
            # Glue repeats what failed, not what reached its timeout or was stopped.
            if state == "FAILED" and run["Attempt"] < job["MaxRetries"]:
                attempt = run["Attempt"] + 1
                first = run_id.partition("_attempt_")[0]
                kept = ("JobName", "Arguments", *_RUN_SETTINGS, *_JOB_SETTINGS)
                again = {key: run[key] for key in kept if key in run}
                self._launch(
                    job,
                    again
                    | {
                        "Id": f"{first}_attempt_{attempt}",
                        "Attempt": attempt,
                        "PreviousRunId": run_id,
                    },
                )

    def _end(self, run_id: str, state: str, message: str) -> dict[str, Any]:
        time = now().timestamp()
        changes = {"JobRunState": state, "CompletedOn": time}
        changes["ExecutionTime"] = round(time - self._record(run_id)["StartedOn"])
        return self._update(run_id, **changes, **({"ErrorMessage": message} if message else {}))

    def _update(self, run_id: str, **changes: Any) -> dict[str, Any]:
        run = self._record(run_id) | changes | {"LastModifiedOn": now().timestamp()}
        self._runs[run_id] = run
        return run


def _job(name: str, request: Request) -> dict[str, Any]:
    """The job as GetJob answers it, with the defaults that AWS fills in."""
    if not (request.get("Command") or {}).get("ScriptLocation"):
        raise AwsError("InvalidInputException", f"Job {name} needs Command.ScriptLocation")
    time = now().timestamp()
    job = {
        "Name": name,
        "JobMode": "SCRIPT",
        "JobRunQueuingEnabled": False,
        "ExecutionProperty": {"MaxConcurrentRuns": 1},
        "MaxRetries": 0,
        "Timeout": _DEFAULT_TIMEOUT_MINUTES,
        "GlueVersion": "5.1",
        "CreatedOn": time,
        "LastModifiedOn": time,
        **{key: value for key, value in request.items() if key not in ("Name", "Tags")},
    }
    job["Command"] = {"Name": "glueetl", "PythonVersion": "3", **job["Command"]}
    return _capacity(job)


def _capacity(settings: dict[str, Any]) -> dict[str, Any]:
    if settings.get("WorkerType") and settings.get("NumberOfWorkers"):
        if settings["WorkerType"] not in _DPU:
            known = ", ".join(_DPU)
            raise AwsError(
                "InvalidInputException",
                f"WorkerType {settings['WorkerType']} does not exist; it is one of {known}",
            )
        units = _DPU[settings["WorkerType"]] * settings["NumberOfWorkers"]
    else:
        units = settings.get("MaxCapacity") or settings.get("AllocatedCapacity") or 10
    return settings | {"MaxCapacity": float(units), "AllocatedCapacity": int(units)}


def _definition(job: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if key not in ("CreatedOn", "LastModifiedOn")}
