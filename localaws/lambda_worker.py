"""A function's process: Lambda's Python runtime, without its operating system.

Run as a script of its own: it reads one JSON line to begin with, then one an invocation, and
answers each with one line on what was its standard output. What a handler prints goes to standard
error, with a mark after each invocation. A handler that raises leaves the process as it is.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import site
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Ends what an invocation has printed.
MARK = "\x04"
#: Carries the log stream's name to the process (the real variable is not a function's to set).
STREAM = "_LOCALAWS_LOG_STREAM"

_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"


class Context:
    """What a handler is told about its invocation."""

    client_context = identity = None

    def __init__(self, started: dict[str, Any], told: dict[str, Any]) -> None:
        self.function_name = started["function_name"]
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.memory_limit_in_mb = str(started["memory"])
        self.invoked_function_arn = told["invoked_function_arn"]
        self.aws_request_id = told["request_id"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline = time.monotonic() + told["timeout_ms"] / 1000

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's timeout."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class _RequestId(logging.Filter):
    id = ""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id = self.id
        return True


def main() -> None:
    """Load the handler, then serve invocations until the standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**members: Any) -> None:
        answers.write(json.dumps(members) + "\n")
        answers.flush()

    started = json.loads(sys.stdin.readline())
    os.environ["AWS_LAMBDA_LOG_STREAM_NAME"] = os.environ.pop(STREAM, "")
    os.environ.setdefault("AWS_LAMBDA_LOG_GROUP_NAME", f"/aws/lambda/{started['function_name']}")
    request_id = _log_as_lambda()
    _find_modules(started["code_dir"])
    try:
        handler = getattr(importlib.import_module(started["module"]), started["handler"])
    except BaseException as error:
        traceback.print_exc()
        answer(status="error", error=f"Unable to import module '{started['module']}': {error}")
        return
    answer(status="ready")
    for line in sys.stdin:
        invocation = json.loads(line)
        told = invocation["ctx"]
        request_id.id = told["request_id"]
        if told.get("trace_id"):
            os.environ["_X_AMZN_TRACE_ID"] = told["trace_id"]
        ended = _run(handler, invocation["event"], Context(started, told))
        sys.stderr.write(MARK + "\n")
        sys.stderr.flush()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        answer(status="ok", memory=used, **ended)


def _run(handler: Callable[[Any, Any], Any], event: Any, context: Context) -> dict[str, Any]:
    try:
        result = handler(event, context)
    except Exception as error:
        stack = traceback.format_tb(error.__traceback__)[1:]
        kind, message = type(error).__name__, str(error)
        print(f"[ERROR] {kind}: {message}\nTraceback (most recent call last):\n" + "".join(stack))
    else:
        try:
            json.dumps(result)
            return {"result": result}
        except (TypeError, ValueError) as error:
            kind, message, stack = (
                "Runtime.MarshalError",
                f"Unable to marshal response: {error}",
                [],
            )
            print(f"[ERROR] {kind}: {message}")
    failure = {"errorMessage": message, "errorType": kind, "requestId": context.aws_request_id}
    return {"failure": failure | {"stackTrace": stack}}


def _log_as_lambda() -> _RequestId:
    """A root logger as Lambda sets it up: a handler, and nothing below a warning."""
    request_id = _RequestId()
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(request_id)
    logging.getLogger().addHandler(handler)
    return request_id


def _find_modules(code: str) -> None:
    """The package's own modules first, then the layers'."""
    layers = filter(None, os.environ.get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep))
    for layer in layers:
        sys.path.insert(0, f"{layer}/python")
        for folder in Path(layer, "python", "lib").glob("python3.*/site-packages"):
            site.addsitedir(str(folder))
    sys.path.insert(0, code)


if __name__ == "__main__":
    main()
