"""The Redshift Data API on serverless workgroups: statements run in the background, one by one."""

from __future__ import annotations

import datetime as dt
import fnmatch
import hashlib
import logging
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.exceptions
from sqlglot import exp

from localaws import redshift_dialect as dialect
from localaws import redshift_results as results
from localaws.lake import Lake, LakeError
from localaws.redshift_dialect import SqlError
from localaws.redshift_serverless import NAMESPACES, WORKGROUPS
from localaws.redshift_sql import Session, Warehouse
from localaws.service import AwsError, Context, Request, Response, Service, now, page

log = logging.getLogger("localaws.redshift")

MAX_SQL_BYTES = 100 * 1024
MAX_BATCH = 40
MAX_ACTIVE_STATEMENTS = 500
#: AWS keeps a statement and its result for a day.
RETENTION = dt.timedelta(hours=24)
#: How often what is older is looked for.
FORGET_SECONDS = 3600
WORKERS = 8
ENDED = ("FINISHED", "FAILED", "ABORTED")
_NO_RESULT = "Query does not have result. Please check query status with DescribeStatement."
_NO_SESSIONS = "send statements that share temporary tables as one BatchExecuteStatement"
_NOT_HERE = {
    "SessionId": _NO_SESSIONS,
    "SessionKeepAliveSeconds": _NO_SESSIONS,
    "WithEvent": "the embedded EventBridge takes no events of AWS services; use DescribeStatement",
}


class RedshiftData(Service):
    """ExecuteStatement and its family over the DuckDB file of the workgroup's namespace."""

    scope = "redshift-data"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._statements = context.state.table("redshift_statements")
        self._results = context.home / "redshift" / "results"
        self._lake = Lake(context)
        self._warehouses: dict[str, Warehouse] = {}
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="redshift")
        # One lock for the records: they are few and small.
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        #: What has not ended, and of it what has a session and what was cancelled.
        self._active: dict[str, dict[str, Any]] = {}
        self._sessions: dict[str, Session] = {}
        self._cancelled: set[str] = set()
        self._forgot_at = 0.0
        self._pid = 0

    def start(self) -> None:
        """End what a stop or a kill cut off."""
        for record in self._statements.values():
            if record["Status"] not in ENDED:
                self._end(
                    record,
                    "FAILED",
                    "The embedded AWS stopped while this statement was running; a transaction "
                    "that had not committed was rolled back.",
                )

    def stop(self) -> None:
        """Interrupt what runs; the next start says so in its record."""
        self._stopping = True
        for session in list(self._sessions.values()):
            session.cancel()
        self._workers.shutdown(wait=True, cancel_futures=True)
        for warehouse in self._warehouses.values():
            warehouse.close()

    # ------------------------------------------------------------ statements

    def ExecuteStatement(self, request: Request) -> Response:
        """Submit one statement."""
        return self._submit(request, [request.get("Sql", "")], is_batch=False)

    def BatchExecuteStatement(self, request: Request) -> Response:
        """Submit statements that run as one transaction (or, AUTO_COMMIT, each by itself)."""
        sqls = request.get("Sqls") or []
        if not 1 <= len(sqls) <= MAX_BATCH:
            raise AwsError(
                "ValidationException",
                f"Sqls has {len(sqls)} statements; a batch takes 1 to {MAX_BATCH}.",
            )
        for sql in sqls:
            first = (dialect.clean(sql).split() or [""])[0].upper()
            if first in dialect.TRANSACTION_CONTROL:
                raise AwsError(
                    "ValidationException",
                    f"{first} is not allowed in a batch: BatchExecuteStatement runs its "
                    "statements as one transaction already.",
                )
        return self._submit(request, sqls, is_batch=True)

    def _submit(self, request: Request, sqls: list[str], *, is_batch: bool) -> Response:
        size = sum(len(sql.encode()) for sql in sqls)
        for sql in sqls:
            count = len(dialect.statements(sql))
            if count == 0:
                raise AwsError("ValidationException", "A SQL statement must not be empty.")
            if count > 1:
                raise AwsError(
                    "ValidationException",
                    "Multiple sql statements are not allowed. Send each as an item of one "
                    "BatchExecuteStatement.",
                )
        if size > MAX_SQL_BYTES:
            raise AwsError(
                "ValidationException",
                f"The SQL has {size} bytes; at most {MAX_SQL_BYTES} are taken.",
            )
        parameters = {item["name"]: item["value"] for item in request.get("Parameters", [])}
        self._check_parameters(sqls, parameters)
        target = self._target(request)
        for member, remedy in _NOT_HERE.items():
            if request.get(member):
                raise AwsError("ValidationException", f"{member} is not available here: {remedy}.")
        token = request.get("ClientToken")
        with self._changed:
            identifier = str(uuid.uuid4())
            if token:
                # The same token gives the same statement.
                digest = hashlib.sha256(f"{token}\0{target}".encode()).digest()
                identifier = str(uuid.UUID(bytes=digest[:16], version=4))
                if existing := self._statements.get(identifier):
                    if existing["Sqls"] != sqls:
                        raise AwsError(
                            "ValidationException",
                            f"ClientToken {token} was used with other statements.",
                        )
                    return self._submitted(existing)
            if len(self._active) >= MAX_ACTIVE_STATEMENTS:
                raise AwsError(
                    "ActiveStatementsExceededException",
                    f"There are {MAX_ACTIVE_STATEMENTS} active statements; wait until some end.",
                )
            self._pid += 1
            record = {
                "Id": identifier,
                "Sqls": sqls,
                "IsBatchStatement": is_batch,
                "ExecutionMode": request.get("ExecutionMode", "TRANSACTION"),
                "ResultFormat": request.get("ResultFormat", "JSON"),
                "StatementName": request.get("StatementName", ""),
                "QueryParameters": request.get("Parameters", []),
                "RedshiftPid": 1073750000 + self._pid,
                "CreatedAt": _timestamp(),
                **target,
                **_state("SUBMITTED"),
                "SubStatements": [
                    {
                        "Id": f"{identifier}:{number}",
                        "QueryString": sql,
                        "CreatedAt": _timestamp(),
                        **_state("SUBMITTED"),
                    }
                    for number, sql in enumerate(sqls, 1)
                ]
                if is_batch
                else [],
            }
            self._statements[identifier] = self._active[identifier] = record
        self._forget_old()
        self._workers.submit(self._run, record)
        return self._submitted(self._await(record, request))

    @staticmethod
    def _check_parameters(sqls: list[str], parameters: dict[str, str]) -> None:
        used = {name for sql in sqls for name in dialect.parameter_names(sql)}
        if unused := [name for name in parameters if name not in used]:
            raise AwsError(
                "ValidationException",
                "Parameters list contains unused parameters. Unused parameters: "
                f"[{', '.join(unused)}]",
            )

    def _target(self, request: Request) -> dict[str, Any]:
        """The members that say where a request goes, checked as AWS does."""
        name, cluster = request.get("WorkgroupName"), request.get("ClusterIdentifier")
        if bool(name) == bool(cluster):
            raise AwsError(
                "ValidationException", "Give WorkgroupName or ClusterIdentifier, and not both."
            )
        if name and request.get("DbUser"):
            raise AwsError(
                "ValidationException", "DbUser is for clusters; a workgroup takes your identity."
            )
        if not request.get("Database"):
            raise AwsError("ValidationException", "Database is required.")
        name = (name or "").rpartition("/")[2] if (name or "").startswith("arn:") else name
        workgroup = self._workgroup(name) if name else None
        if workgroup is None:
            hint = "the embedded AWS has no clusters; use a workgroup" if cluster else (
                f"create workgroup {name} with redshift-serverless:CreateWorkgroup"
            )  # fmt: skip
            raise AwsError(
                "ValidationException", f"Redshift endpoint doesn't exist in this region: {hint}."
            )
        if secret := request.get("SecretArn"):
            try:
                self.context.client("secretsmanager").describe_secret(SecretId=secret)
            except botocore.exceptions.ClientError as error:
                raise AwsError("ValidationException", f"SecretArn {secret}: {error}") from None
        return {
            "WorkgroupName": workgroup["workgroupName"],
            "Database": request["Database"],
            **({"SecretArn": secret} if secret else {"DbUser": f"IAM:{self.context.account}"}),
        }

    def _workgroup(self, name: str) -> dict[str, Any] | None:
        table = self.context.state.table(WORKGROUPS)
        by_id = (group for group in table.values() if group["workgroupId"] == name)
        return table.get(name) or next(by_id, None)

    @staticmethod
    def _submitted(record: dict[str, Any]) -> Response:
        members = ("Id", "Database", "DbUser", "SecretArn", "WorkgroupName", "Status")
        answer = {member: record[member] for member in members if member in record}
        return answer | {"CreatedAt": _date(record["CreatedAt"]), "DbGroups": []}

    def _await(self, record: dict[str, Any], request: Request) -> dict[str, Any]:
        """The record once the statement ended, or WaitTimeSeconds passed."""
        deadline = time.monotonic() + min(int(request.get("WaitTimeSeconds") or 0), 30)
        with self._changed:
            while True:
                record = self._statements.get(record["Id"]) or record
                left = deadline - time.monotonic()
                if record["Status"] in ENDED or left <= 0:
                    return record
                self._changed.wait(left)

    # ------------------------------------------------------------ running

    def _run(self, record: dict[str, Any]) -> None:
        started = time.monotonic_ns()
        status, reason = "FINISHED", ""
        try:
            if self._move(record, "PICKED"):
                self._run_in_session(record)
        except SqlError as error:
            status, reason = "FAILED", str(error)
        except Exception as error:
            log.exception("statement %s failed", record["Id"])
            status, reason = "FAILED", f"ERROR: the embedded AWS failed: {error!r}"
        if status == "FAILED" and record["Id"] in self._cancelled:
            status = "ABORTED"
        if self._stopping and status == "FAILED":
            return
        if record["Status"] not in ENDED:  # a cancel before it started has ended it
            record["Duration"] = time.monotonic_ns() - started
            self._end(record, status, reason)

    def _run_in_session(self, record: dict[str, Any]) -> None:
        warehouse = self._warehouse(record["WorkgroupName"])
        if record["Database"] != warehouse.database:
            raise SqlError(
                f'database "{record["Database"]}" does not exist (the namespace has '
                f'"{warehouse.database}")'
            )
        with warehouse.session() as session:
            if self._move(record, "STARTED", session):
                self._run_statements(record, session)

    def _run_statements(self, record: dict[str, Any], session: Session) -> None:
        parts = record["SubStatements"] or [record]
        if record["ExecutionMode"] == "AUTO_COMMIT":
            failures = []
            for number, part in enumerate(parts, 1):
                try:
                    with session.transaction():
                        self._run_one(record, part, session)
                except SqlError as error:
                    failures.append(f"Query #{number} failed with {error}")
            if failures:
                raise SqlError("; ".join(failures))
        else:
            with session.transaction():
                for number, part in enumerate(parts, 1):
                    try:
                        self._run_one(record, part, session)
                    except SqlError as error:
                        if record["IsBatchStatement"]:
                            error.args = (f"Query #{number} failed with {error}",)
                        raise
        record["HasResultSet"] = any(part["HasResultSet"] for part in parts)
        record["ResultRows"] = sum(part["ResultRows"] for part in parts)
        record["ResultSize"] = sum(part["ResultSize"] for part in parts)

    def _run_one(self, record: dict[str, Any], part: dict[str, Any], session: Session) -> None:
        """Run one statement; `part` is the record itself, or one of its sub-statements."""
        started = time.monotonic_ns()
        sql = part.get("QueryString") or record["Sqls"][0]
        values = {item["name"]: item["value"] for item in record["QueryParameters"]}
        state: dict[str, Any] = {"Status": "FAILED"}
        try:
            outcome = session.run(dialect.with_parameters(sql, values))
            size = results.write(self._results / part["Id"], outcome, record["ResultFormat"])
            state = {
                "Status": "FINISHED",
                "HasResultSet": outcome.columns is not None,
                "ResultRows": outcome.rows,
                "ResultSize": size,
            }
        except SqlError as error:
            state["Error"] = str(error)
            raise
        finally:
            state |= {"Duration": time.monotonic_ns() - started, "UpdatedAt": _timestamp()}
            if part is record:  # it ends with its transaction
                del state["Status"]
            part |= state
            self._statements[record["Id"]] = record

    def _warehouse(self, workgroup: str) -> Warehouse:
        namespaces = self.context.state.table(NAMESPACES)
        name = (self.context.state.table(WORKGROUPS).get(workgroup) or {}).get("namespaceName", "")
        namespace = namespaces.get(name)
        if namespace is None:
            raise SqlError(f"workgroup {workgroup} was deleted")
        with self._changed:
            warehouse = self._warehouses.get(name)
            if warehouse is None or warehouse.namespace_id != namespace["namespaceId"]:
                if warehouse is not None:  # of a namespace that was deleted
                    warehouse.close()
                warehouse = Warehouse(
                    self.context, self._lake, lambda: namespaces.get(name) or namespace
                )
                self._warehouses[name] = warehouse
            return warehouse

    def _move(self, record: dict[str, Any], status: str, session: Session | None = None) -> bool:
        """Take the next state, unless the statement was cancelled meanwhile."""
        with self._changed:
            if record["Status"] in ENDED:
                return False
            if session is not None:
                self._sessions[record["Id"]] = session
            record |= {"Status": status, "UpdatedAt": _timestamp()}
            self._statements[record["Id"]] = record
            return True

    def _end(self, record: dict[str, Any], status: str, error: str = "") -> None:
        with self._changed:
            record |= {"Status": status, "UpdatedAt": _timestamp()}
            if error:
                record["Error"] = error
            for part in record["SubStatements"]:
                if part["Status"] not in ENDED:
                    part |= {"Status": "ABORTED", "UpdatedAt": _timestamp()}
            self._statements[record["Id"]] = record
            self._active.pop(record["Id"], None)
            self._sessions.pop(record["Id"], None)
            self._cancelled.discard(record["Id"])
            self._changed.notify_all()

    def _forget_old(self) -> None:
        if time.monotonic() - self._forgot_at < FORGET_SECONDS:
            return
        self._forgot_at = time.monotonic()
        oldest = (now() - RETENTION).isoformat()
        with self._changed:
            for record in self._statements.values():
                if record["CreatedAt"] >= oldest:
                    break
                self._statements.pop(record["Id"])
                for path in self._results.glob(f"{record['Id']}*"):
                    shutil.rmtree(path, ignore_errors=True)

    # ------------------------------------------------------------ results

    def GetStatementResult(self, request: Request) -> Response:
        """One page of a result, as typed fields."""
        return self._result(request, "JSON")

    def GetStatementResultV2(self, request: Request) -> Response:
        """One page of a result that was asked for as CSV."""
        return self._result(request, "CSV")

    def _result(self, request: Request, result_format: str) -> Response:
        part = self._part(request["Id"])
        if ":" not in request["Id"]:
            part = self._await(part, request)
        if part["Status"] != "FINISHED" or not part["HasResultSet"]:
            raise AwsError("ResourceNotFoundException", _NO_RESULT)
        head = results.read(self._results / request["Id"], "head")
        if head is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"{_NO_RESULT} A batch's results have the ids of its SubStatements.",
            )
        if head["ResultFormat"] != result_format:
            other = "GetStatementResultV2" if result_format == "JSON" else "GetStatementResult"
            raise AwsError(
                "ValidationException",
                f"The result of {request['Id']} is {head['ResultFormat']}: call {other}.",
            )
        numbers, token = _page(list(range(head.pop("Pages"))), request, limit=1)
        records = [results.read(self._results / request["Id"], str(number)) for number in numbers]
        if result_format == "JSON":
            del head["ResultFormat"]
        return {"Records": records[0] if records else [], **head, **token}

    # ------------------------------------------------------------ looking at statements

    def _part(self, identifier: str) -> dict[str, Any]:
        """A statement, or a sub-statement by ``id:number``."""
        whole, _, number = identifier.partition(":")
        if not re.fullmatch(r"[a-z0-9]{8}(-[a-z0-9]{4}){3}-[a-z0-9]{12}", whole):
            raise AwsError("ValidationException", f"Id {identifier} is not a statement's id.")
        record = self._statements.get(whole)
        if record is not None and not number:
            return record
        parts = record["SubStatements"] if record else []
        if not number.isdigit() or not 1 <= int(number) <= len(parts):
            raise AwsError("ResourceNotFoundException", f"Query does not exist: {identifier}.")
        return parts[int(number) - 1]

    def DescribeStatement(self, request: Request) -> Response:
        """A statement's state, counts, error and, for a batch, its sub-statements."""
        part = self._part(request["Id"])
        if "Sqls" not in part:
            return _described(part)
        record = self._await(part, request)
        answer = _described(record)
        for member in ("QueryParameters", "SecretArn", "DbUser", "Database", "WorkgroupName"):
            if record.get(member):
                answer[member] = record[member]
        answer |= {
            "RedshiftPid": record["RedshiftPid"],
            "ResultFormat": record["ResultFormat"],
        }
        if record["IsBatchStatement"]:
            answer["ExecutionMode"] = record["ExecutionMode"]
            answer["SubStatements"] = [_described(part) for part in record["SubStatements"]]
        else:
            answer["QueryString"] = record["Sqls"][0]
        return answer

    def ListStatements(self, request: Request) -> Response:
        """Statements, newest first; only finished ones unless Status says otherwise."""
        status = request.get("Status") or "FINISHED"
        if status not in ("ALL", "SUBMITTED", "PICKED", "STARTED", *ENDED):
            raise AwsError("ValidationException", f"Status {status} is not a statement's state.")
        found = [
            {
                "Id": record["Id"],
                "Status": record["Status"],
                "StatementName": record["StatementName"],
                "CreatedAt": _date(record["CreatedAt"]),
                "UpdatedAt": _date(record["UpdatedAt"]),
                "QueryParameters": record["QueryParameters"],
                "IsBatchStatement": record["IsBatchStatement"],
                "ResultFormat": record["ResultFormat"],
                **({"QueryStrings": record["Sqls"]} if record["IsBatchStatement"] else {}),
                "QueryString": record["Sqls"][0],
            }
            for record in reversed(self._statements.values())
            if status in ("ALL", record["Status"])
            and record["StatementName"].startswith(request.get("StatementName", ""))
            and request.get("WorkgroupName") in (None, record["WorkgroupName"])
            and request.get("Database") in (None, record["Database"])
            and not request.get("ClusterIdentifier")
        ]
        items, token = _page(found, request, limit=100)
        return {"Statements": items, **token}

    def CancelStatement(self, request: Request) -> Response:
        """Abort a statement that has not ended; its transaction is rolled back."""
        if ":" in request["Id"]:
            raise AwsError(
                "ValidationException", "A sub-statement cannot be cancelled: cancel all."
            )
        with self._changed:
            record = self._part(request["Id"])
            if record["Status"] in ENDED:
                raise AwsError(
                    "ValidationException",
                    "Could not cancel a query that is already in "
                    f"{record['Status']} state with ID: {record['Id']}",
                )
            self._cancelled.add(record["Id"])
            if session := self._sessions.get(record["Id"]):
                session.cancel()  # the transaction is rolled back, and then it ends
            else:
                self._end(
                    self._active[record["Id"]], "ABORTED", "Query cancelled on user's request"
                )
        return {"Status": True}

    # ------------------------------------------------------------ looking at the database

    def ListDatabases(self, request: Request) -> Response:
        """The namespace's database."""
        items, token = _page([self._open(request).database], request)
        return {"Databases": items, **token}

    def ListSchemas(self, request: Request) -> Response:
        """Schemas, also external ones."""
        schemas = self._look(
            request, lambda session: ["information_schema", "pg_catalog", *session.schemas()]
        )
        pattern = request.get("SchemaPattern")
        items, token = _page([name for name in schemas if _like(name, pattern)], request)
        return {"Schemas": items, **token}

    def ListTables(self, request: Request) -> Response:
        """Tables and views, also external ones."""

        def tables(session: Session) -> list[dict[str, str]]:
            return [
                {"name": name, "schema": schema, "type": kind}
                for schema in session.schemas()
                if _like(schema, request.get("SchemaPattern"))
                for name, kind in session.tables(schema)
                if _like(name, request.get("TablePattern"))
            ]

        items, token = _page(self._look(request, tables), request)
        return {"Tables": items, **token}

    def DescribeTable(self, request: Request) -> Response:
        """The columns of one table, or of every table of the schema."""
        schema, table = request.get("Schema"), request.get("Table")

        def columns(session: Session) -> list[dict[str, Any]]:
            return [
                results.metadata(column, kind) | {"schemaName": owner, "tableName": name}
                for owner in session.schemas()
                if schema in (None, owner)
                for name, _ in session.tables(owner)
                if table in (None, name)
                for column, kind in session.columns(
                    session.require(exp.table_(name, db=owner))
                ).items()
            ]

        items, token = _page(self._look(request, columns), request)
        return {"ColumnList": items, **({"TableName": table} if table else {}), **token}

    def _open(self, request: Request) -> Warehouse:
        return self._warehouse(self._target({"Database": "-", **request})["WorkgroupName"])

    def _look(self, request: Request, look: Callable[[Session], list[Any]]) -> list[Any]:
        warehouse = self._open(request)
        if request.get("Database") not in (None, warehouse.database):
            raise AwsError(
                "ValidationException", f'FATAL: database "{request["Database"]}" does not exist'
            )
        try:
            with warehouse.session() as session, session.transaction():
                return look(session)
        except (SqlError, LakeError) as error:
            raise AwsError("ValidationException", str(error)) from None


def _described(part: dict[str, Any]) -> Response:
    members = ("Id", "Status", "Duration", "HasResultSet", "ResultRows", "ResultSize", "Error",
               "QueryString")  # fmt: skip
    return {member: part[member] for member in members if member in part} | {
        "CreatedAt": _date(part["CreatedAt"]),
        "UpdatedAt": _date(part["UpdatedAt"]),
        "RedshiftQueryId": 0,
    }


def _state(status: str) -> dict[str, Any]:
    return {
        "Status": status,
        "UpdatedAt": _timestamp(),
        "Duration": -1,
        "HasResultSet": False,
        "ResultRows": -1,
        "ResultSize": -1,
    }


def _page(
    items: list[Any], request: Request, limit: int = 1000
) -> tuple[list[Any], dict[str, str]]:
    try:
        return page(items, request, limit=limit)
    except AwsError as error:
        raise AwsError("ValidationException", error.message) from None


def _like(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    glob = fnmatch.translate(re.sub(r"([\[\]?*])", r"[\1]", pattern).replace("%", "*"))
    return re.fullmatch(glob.replace("_", "."), name) is not None


def _timestamp() -> str:
    return now().isoformat()


def _date(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
