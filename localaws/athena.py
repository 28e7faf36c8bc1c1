"""Athena: queries run on worker threads, durable in the state, their results in S3."""

from __future__ import annotations

import base64
import contextvars
import logging
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import botocore.exceptions

from localaws import athena_results
from localaws.athena_admin import ENGINE_VERSION, AthenaAdmin, invalid
from localaws.athena_errors import Cancelled, QueryError, athena_error
from localaws.athena_sql import Execution, classify
from localaws.athena_writes import Outcome
from localaws.service import AwsError, Context, Request, Response, now, page

log = logging.getLogger("localaws.athena")

#: Queries that run at the same time; more wait in the state QUEUED.
CONCURRENT_QUERIES = 4
#: Queries that may wait. AWS answers TooManyRequestsException beyond its own quota.
QUEUED_QUERIES = 200
#: DuckDB's memory for one query; what needs more goes through the disk.
MEMORY_LIMIT = "384MB"
MAX_QUERY_BYTES = 262_144
#: Statements that leave a manifest in place of a result.
_WRITES = ("CREATE_TABLE_AS_SELECT", "INSERT", "UNLOAD")
_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


class Athena(AthenaAdmin):
    """Every action of Athena for SQL."""

    scope: ClassVar[str] = "athena"
    acts_as_caller: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._executions = context.state.table("athena_executions")
        self._tokens = context.state.table("athena_tokens")
        self._folder = context.home / "athena"
        self._running: dict[str, Execution] = {}
        self._lock = threading.RLock()
        self._stopping = False
        self._workers = ThreadPoolExecutor(CONCURRENT_QUERIES, thread_name_prefix="athena")

    def start(self) -> None:
        """Fail what a stop or a kill left unfinished."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for record in self._executions.values():
            if record["Status"]["State"] not in _FINAL:
                self._finish(
                    record, "FAILED", "GENERIC_INTERNAL_ERROR: the embedded AWS was restarted"
                )

    def stop(self) -> None:
        """Interrupt what runs; `start` fails it the next time."""
        self._stopping = True
        with self._lock:
            running = list(self._running.values())
        for execution in running:
            execution.cancel()
        self._workers.shutdown(wait=False, cancel_futures=True)

    # Executions

    def StartQueryExecution(self, request: Request) -> Response:
        """Queue a query; the same ClientRequestToken gives the same execution."""
        sql = request["QueryString"]
        if not sql.strip().strip(";").strip():
            raise invalid("The query string is empty")
        if len(sql.encode()) > MAX_QUERY_BYTES:
            raise invalid(f"The query string is longer than {MAX_QUERY_BYTES} bytes")
        group = self._group(request.get("WorkGroup"))
        if group["State"] != "ENABLED":
            raise invalid(f"WorkGroup {group['Name']} is disabled.")
        token = request.pop("ClientRequestToken", None)
        with self._lock:
            if token and (used := self._tokens.get(token)):
                if used["Request"] != request:
                    raise invalid("Idempotent parameters do not match")
                return {"QueryExecutionId": used["QueryExecutionId"]}
            if len(self._running) >= CONCURRENT_QUERIES + QUEUED_QUERIES:
                raise AwsError(
                    "TooManyRequestsException",
                    f"{QUEUED_QUERIES} queries wait already; try again later",
                    Reason="CONCURRENT_QUERY_LIMIT_EXCEEDED",
                )
            record = self._record(request, group)
            identity = record["QueryExecutionId"]
            self._executions[identity] = record
            if token:
                self._tokens[token] = {"Request": request, "QueryExecutionId": identity}
            self._running[identity] = self._execution(record, group)
        # AWS asks where the results' bucket is before it takes a query.
        bucket, _ = athena_results.split(record["ResultConfiguration"]["OutputLocation"])
        self.context.trail.record("s3:GetBucketLocation", f"arn:aws:s3:::{bucket}")
        self._workers.submit(contextvars.copy_context().run, self._run, record)
        return {"QueryExecutionId": identity}

    def _record(self, request: Request, group: dict[str, Any]) -> dict[str, Any]:
        configuration = group["Configuration"]
        results = dict(request.get("ResultConfiguration", {}))
        if configuration.get("EnforceWorkGroupConfiguration") or not results.get("OutputLocation"):
            results |= configuration.get("ResultConfiguration", {})
        location = results.get("OutputLocation", "")
        if not location.startswith("s3://"):
            raise invalid(
                "No output location provided. An output location is required either through the "
                "Workgroup result configuration setting or as an API input."
            )
        identity = str(uuid.uuid4())
        statement, substatement = classify(request["QueryString"])
        suffix = "" if substatement in _WRITES else ".csv" if statement == "DML" else ".txt"
        context = {
            name: value.lower() for name, value in request.get("QueryExecutionContext", {}).items()
        }
        return {
            "QueryExecutionId": identity,
            "Query": request["QueryString"],
            "StatementType": statement,
            "SubstatementType": substatement,
            "ResultConfiguration": results
            | {"OutputLocation": f"{location.rstrip('/')}/{identity}{suffix}"},
            "ResultReuseConfiguration": {"ResultReuseByAgeConfiguration": {"Enabled": False}},
            "QueryExecutionContext": context,
            "Status": {"State": "QUEUED", "SubmissionDateTime": now().timestamp()},
            "Statistics": {},
            "WorkGroup": group["Name"],
            "EngineVersion": ENGINE_VERSION,
            "ExecutionParameters": request.get("ExecutionParameters", []),
        }

    def _execution(self, record: dict[str, Any], group: dict[str, Any]) -> Execution:
        def prepared(name: str) -> str | None:
            found = self._prepared.get(f"{group['Name']}/{name}")
            return found["QueryStatement"] if found else None

        def prepare(name: str, sql: str | None) -> None:
            request = {"StatementName": name, "WorkGroup": group["Name"], "QueryStatement": sql}
            try:
                (self.CreatePreparedStatement if sql else self.DeletePreparedStatement)(request)
            except AwsError as error:
                raise QueryError(f"INVALID_PREPARED_STATEMENT: {error.message}") from None

        return Execution(
            context=self.context,
            sql=record["Query"],
            database=record["QueryExecutionContext"].get("Database", "default"),
            output=record["ResultConfiguration"]["OutputLocation"]
            .removesuffix(".csv")
            .removesuffix(".txt"),
            folder=self._folder / record["QueryExecutionId"],
            memory_limit=MEMORY_LIMIT,
            cutoff=group["Configuration"].get("BytesScannedCutoffPerQuery"),
            parameters=record["ExecutionParameters"],
            encryption=_encryption(record["ResultConfiguration"]),
            prepared=prepared,
            prepare=prepare,
        )

    def _run(self, record: dict[str, Any]) -> None:
        identity = record["QueryExecutionId"]
        with self._lock:
            execution = self._running.get(identity)
            if execution is None:  # stopped while it waited
                return
            record["Status"]["State"] = "RUNNING"
            self._executions[identity] = record
        started = time.monotonic()
        execution.folder.mkdir(parents=True)
        outcome: Outcome | None = None
        try:
            outcome = execution.run()
            state, reason = "SUCCEEDED", ""
        except QueryError as error:
            state, reason = "FAILED", str(error)
        except Cancelled as error:
            state, reason = "CANCELLED", str(error)
        except botocore.exceptions.ClientError as error:
            state, reason = "FAILED", _client_failure(error)
        except Exception as error:
            log.exception("query %s failed", identity)
            state, reason = "FAILED", f"GENERIC_INTERNAL_ERROR: {error}"
        finally:
            shutil.rmtree(execution.folder, ignore_errors=True)
        if self._stopping:  # the state is closing; `start` fails it the next time
            return
        if outcome:
            record["ResultConfiguration"]["OutputLocation"] = outcome.location
            record["UpdateCount"] = outcome.update_count
            record["Statistics"]["DataScannedInBytes"] = outcome.scanned_bytes
            if outcome.manifest:
                record["Statistics"]["DataManifestLocation"] = outcome.manifest
        elapsed = int((time.monotonic() - started) * 1000)
        record["Statistics"]["EngineExecutionTimeInMillis"] = elapsed
        self._finish(record, state, reason)

    def _finish(self, record: dict[str, Any], state: str, reason: str) -> None:
        status, statistics = record["Status"], record["Statistics"]
        ended = now().timestamp()
        status |= {"State": state, "CompletionDateTime": ended}
        total = int((ended - status["SubmissionDateTime"]) * 1000)
        ran = statistics.setdefault("EngineExecutionTimeInMillis", 0)
        statistics.setdefault("DataScannedInBytes", 0)
        statistics |= {
            "TotalExecutionTimeInMillis": total,
            "QueryQueueTimeInMillis": max(total - ran, 0),
            "ServiceProcessingTimeInMillis": 0,
            "ResultReuseInformation": {"ReusedPreviousResult": False},
        }
        if reason:
            status["StateChangeReason"] = reason
        if state == "FAILED":
            status["AthenaError"] = athena_error(reason)
        with self._lock:
            self._running.pop(record["QueryExecutionId"], None)
            self._executions[record["QueryExecutionId"]] = record

    def _known(self, identity: str) -> dict[str, Any]:
        record = self._executions.get(identity)
        if record is None:
            raise invalid(f"QueryExecution {identity} was not found")
        return record

    def GetQueryExecution(self, request: Request) -> Response:
        """One execution."""
        return {"QueryExecution": self._known(request["QueryExecutionId"])}

    def BatchGetQueryExecution(self, request: Request) -> Response:
        """Several executions."""
        wanted = request["QueryExecutionIds"]
        found = {identity: self._executions.get(identity) for identity in wanted}
        return {
            "QueryExecutions": [record for record in found.values() if record],
            "UnprocessedQueryExecutionIds": [
                {
                    "QueryExecutionId": identity,
                    "ErrorCode": "INVALID_INPUT",
                    "ErrorMessage": f"QueryExecution {identity} was not found",
                }
                for identity, record in found.items()
                if not record
            ],
        }

    def StopQueryExecution(self, request: Request) -> None:
        """Stop an execution; one that has ended stays as it is."""
        record = self._known(request["QueryExecutionId"])
        with self._lock:
            execution = self._running.get(record["QueryExecutionId"])
            if execution is None:
                return
            execution.cancel()
            if self._known(record["QueryExecutionId"])["Status"]["State"] == "QUEUED":
                self._finish(record, "CANCELLED", "Query cancelled by user")

    def ListQueryExecutions(self, request: Request) -> Response:
        """Ids of a work group's executions, the latest first."""
        group = self._group(request.get("WorkGroup"))["Name"]
        found = [
            r["QueryExecutionId"] for r in self._executions.values() if r["WorkGroup"] == group
        ]
        identities, more = page(found[::-1], request, limit=50)
        return {"QueryExecutionIds": identities, **more}

    def GetQueryRuntimeStatistics(self, request: Request) -> Response:
        """How long an execution took and what it read."""
        statistics = self._known(request["QueryExecutionId"])["Statistics"]
        timeline = {name: value for name, value in statistics.items() if name.endswith("Millis")}
        rows = {"InputBytes": statistics.get("DataScannedInBytes", 0)}
        return {"QueryRuntimeStatistics": {"Timeline": timeline, "Rows": rows}}

    def GetQueryResults(self, request: Request) -> Response:
        """A page of an execution's rows, read back from its object in S3."""
        record = self._known(request["QueryExecutionId"])
        state = record["Status"]["State"]
        if state in ("FAILED", "CANCELLED"):
            raise invalid(f"Query did not finish successfully. Final query state: {state}")
        if state != "SUCCEEDED":
            raise invalid(f"Query has not yet finished. Current state: {state}")
        location = record["ResultConfiguration"]["OutputLocation"]
        answer: Response = {}
        if record.get("UpdateCount") is not None:
            answer["UpdateCount"] = record["UpdateCount"]
        if not location.endswith((".csv", ".txt")):
            metadata: dict[str, Any] = {"ColumnInfo": []}
            return answer | {"ResultSet": {"Rows": [], "ResultSetMetadata": metadata}}
        count = min(int(request.get("MaxResults") or 1000), 1000)
        try:
            columns = athena_results.columns_of(self.context, location)
            rows, offset = athena_results.rows(
                self.context, location, _offset(request.get("NextToken")), count
            )
        except botocore.exceptions.ClientError as error:
            raise invalid(f"Could not find results: {_client_failure(error)}") from None
        if offset is not None:
            answer["NextToken"] = base64.urlsafe_b64encode(str(offset).encode()).decode()
        return answer | {
            "ResultSet": {
                "Rows": [
                    {"Data": [{} if v is None else {"VarCharValue": v} for v in row]}
                    for row in rows
                ],
                "ResultSetMetadata": {"ColumnInfo": columns},
            }
        }


def _encryption(results: dict[str, Any]) -> dict[str, str]:
    """PutObject's members for a result configuration."""
    wanted = results.get("EncryptionConfiguration", {})
    if wanted.get("EncryptionOption") != "SSE_KMS" or not wanted.get("KmsKey"):
        return {}
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": wanted["KmsKey"]}


def _offset(token: str | None) -> int:
    try:
        return int(base64.urlsafe_b64decode(token)) if token else 0
    except ValueError:
        raise invalid("NextToken is not one that was given out") from None


def _client_failure(error: botocore.exceptions.ClientError) -> str:
    details = error.response["Error"]
    return f"{details['Code']}: {details['Message']}"
