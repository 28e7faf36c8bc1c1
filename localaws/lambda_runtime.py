"""Python functions as Lambda runs them, where MiniStack's runtime falls short.

A process serves one invocation after the other and outlives a handler's error; what it prints is in
the function's log group when the invocation ends, between START, END and REPORT, in one stream a
process; errors have the handler's type and stack; every invocation is counted in AWS/Lambda,
whoever invoked. MiniStack waits 50 ms after each invocation for output that may not come, and ends
the process of a handler that raised.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localaws import lambda_worker, service_metrics
from localaws.service import Context, now

Record = dict[str, Any]

#: A function's log keeps so many streams, and a stream so many events: they are in memory.
_STREAMS, _EVENTS = 50, 10_000
_OUTPUT_SECONDS = 2.0


def install(context: Context) -> None:
    """Put the runtime into MiniStack. Call it before it serves."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    dispatch, detect = lambda_svc._execute_function_dispatch, lambda_runtime._detect_runtime_binary
    emit, worker_class = lambda_svc._emit_lambda_metrics, lambda_runtime._worker_class_for
    script, python_worker = Path(lambda_worker.__file__).read_text(), _python_worker()

    def execute(func: Record, config: Record, event: Any, id: str, started: float) -> Record:
        if not (_is_python(config) and func.get("code_zip")):
            return dict(dispatch(func, config, event, id, started))
        return _invoke(context, func, config, event, id)

    def detect_runtime_binary(runtime: str) -> tuple[str, str]:
        binary, source = detect(runtime)
        return binary, script if runtime.startswith("python") else source

    def emit_metrics(name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        if throttle:  # what ran is counted where it ran
            emit(name, duration_ms, error, throttle)

    # A process's files lie here, not in the machine's folder for such: a kill leaves them behind.
    folder = context.home / "functions"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lambda_runtime.tempfile = SimpleNamespace(
        mkdtemp=lambda prefix: tempfile.mkdtemp(prefix=prefix, dir=folder)
    )
    lambda_svc._execute_function_dispatch = execute
    lambda_svc._emit_lambda_metrics = emit_metrics
    lambda_runtime._detect_runtime_binary = detect_runtime_binary
    lambda_runtime._worker_class_for = lambda config: (
        python_worker if _is_python(config) else worker_class(config)
    )


def _is_python(config: Record) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _python_worker() -> Any:
    from ministack.core import lambda_runtime

    class PythonWorker(lambda_runtime.Worker):
        """MiniStack's process of a function, with one log stream and output that has an end."""

        config: Record
        stream: str
        init_seconds: float

        def _spawn(self) -> None:
            version = self.config.get("Version", "$LATEST")
            self.stream = f"{now():%Y/%m/%d}/[{version}]{uuid.uuid4().hex}"
            given = (self.config.get("Environment") or {}).get("Variables") or {}
            variables = given | {lambda_worker.STREAM: self.stream}
            self.config = self.config | {"Environment": {"Variables": variables}}
            started = time.perf_counter()
            super()._spawn()
            self.init_seconds = time.perf_counter() - started

        def _drain_stderr_bounded(self, *_: Any, **__: Any) -> str:
            lines: list[str] = []
            with contextlib.suppress(lambda_runtime.queue.Empty):
                while True:
                    line = self._stderr_queue.get(timeout=_OUTPUT_SECONDS)
                    if line.endswith(lambda_worker.MARK):
                        lines += filter(None, [line.removesuffix(lambda_worker.MARK)])
                        break
                    lines.append(line)
            return "\n".join(lines)

    return PythonWorker


def _invoke(context: Context, func: Record, config: Record, event: Any, id: str) -> Record:
    """One invocation; what MiniStack's executors return."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    lambda_svc._ensure_reaper_thread()
    name, version = config["FunctionName"], config.get("Version", "$LATEST")
    worker, _ = lambda_runtime.acquire_worker(name, config, func["code_zip"], qualifier=version)
    started = time.perf_counter()
    worker.init_seconds = 0.0
    try:
        result = worker.invoke(
            event,
            id,
            trace_id=lambda_svc._xray_trace_id_for_invocation(config),
            invoked_function_arn=config.get("FunctionArn", ""),
        )
    except (RuntimeError, OSError) as error:  # it did not get as far as the handler
        message = str(error).removeprefix("Worker init failed: ")
        result = {"status": "error", "error": message, "log": worker._drain_stderr()}
        worker.kill()
    finally:
        lambda_runtime.release_worker(worker)
    seconds = max(0.0, time.perf_counter() - started - worker.init_seconds)
    failure = result.get("failure") or (_broken(id, result["error"]) if "error" in result else None)
    lines = result.get("log", "").splitlines()
    if failure and "failure" not in result:
        lines.append(failure["errorMessage"])
    memory = result.get("memory", 0)
    report = _report(id, config, seconds, worker.init_seconds, memory)
    lines = [f"START RequestId: {id} Version: {version}", *lines, f"END RequestId: {id}", report]
    _write_log(context, config, worker.stream, lines)
    if worker.init_seconds and (key := config.get("KMSKeyArn")):  # of the environment
        context.trail.record("kms:Decrypt", key, by=_role(config))
    _count(name, seconds * 1000, bool(failure))
    answer: Record = {"body": failure or result.get("result"), "log": "\n".join(lines)}
    return answer | ({"error": True, "function_error": "Unhandled"} if failure else {})


def _broken(id: str, message: str) -> Record:
    """The error of a function that did not come to raise one itself."""
    if message.startswith("Task timed out"):
        time_ = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"errorType": "Sandbox.Timedout", "errorMessage": f"{time_} {id} {message}"}
    if message.startswith("Unable to import module"):
        return {"errorType": "Runtime.ImportModuleError", "errorMessage": message}
    message = f"RequestId: {id} Error: Runtime exited: {message}"
    return {"errorType": "Runtime.ExitError", "errorMessage": message}


def _report(id: str, config: Record, seconds: float, init_seconds: float, memory: int) -> str:
    milliseconds = seconds * 1000
    fields = [
        f"REPORT RequestId: {id}",
        f"Duration: {milliseconds:.2f} ms",
        f"Billed Duration: {-(-milliseconds // 1):.0f} ms",
        f"Memory Size: {config.get('MemorySize', 128)} MB",
        f"Max Memory Used: {memory} MB",
    ]
    if init_seconds:
        fields.append(f"Init Duration: {init_seconds * 1000:.2f} ms")
    return "\t".join(fields) + "\t"


def _write_log(context: Context, config: Record, stream: str, lines: list[str]) -> None:
    """Append to the function's log group, as its role may."""
    from ministack.services import cloudwatch_logs as logs

    group = (config.get("LoggingConfig") or {}).get("LogGroup")
    group = group or f"/aws/lambda/{config['FunctionName']}"
    needed = ["logs:CreateLogStream", "logs:PutLogEvents"]
    if group not in logs._log_groups:
        needed.append("logs:CreateLogGroup")
        logs._create_log_group({"logGroupName": group})
    streams = logs._log_groups[group]["streams"]
    if stream not in streams:
        logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
        for old in list(streams)[:-_STREAMS]:
            del streams[old]
    stamp = int(time.time() * 1000)
    times = {"timestamp": stamp, "ingestionTime": stamp}
    events = [times | {"message": line or " "} for line in lines]
    logs._append_log_events(streams[stream], events)
    with logs._log_events_lock:
        del streams[stream]["events"][:-_EVENTS]
    logs._fanout_to_subscription_filters(group, stream, events)
    role = _role(config)
    for action in needed:
        context.trail.record(action, context.arn("logs", f"log-group:{group}:*"), by=role)
    if (config.get("TracingConfig") or {}).get("Mode") == "Active":
        for action in ("xray:PutTelemetryRecords", "xray:PutTraceSegments"):
            context.trail.record(action, "*", by=role)


def _role(config: Record) -> str:
    return str(config.get("Role", "")).rpartition("/")[2]


def _count(name: str, milliseconds: float, is_error: bool) -> None:
    service_metrics.add(
        "AWS/Lambda",
        {"FunctionName": name},
        Invocations=(1, "Count"),
        Errors=(is_error, "Count"),
        Throttles=(0, "Count"),
        Duration=(milliseconds, "Milliseconds"),
    )
