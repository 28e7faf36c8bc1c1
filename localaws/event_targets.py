"""EventBridge's deliveries and Lambda's asynchronous invocations, with AWS's retries.

MiniStack gives an event to its targets once, on a thread, and forgets it. Here what was accepted is
a durable record until it is delivered or buried in a dead-letter queue, so a kill repeats it and
loses nothing: at least once, as AWS promises. What AWS tells apart is told apart:

- A rule's target that does not exist, or whose resource policy does not let the rule in, gets no
  second attempt; one that errs is tried again, as the target's RetryPolicy says.
- For a function the rule's part ends when Lambda has taken the event; from there on Lambda's own
  retries count. Throttles are not among those: they only end with the event's age.

Attempts follow each other within seconds, not minutes: waiting is not what is tried out here.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import heapq
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from localaws import resource_policy, service_metrics
from localaws.service import Context, Service, now
from localaws.trail import acting_as

Record = dict[str, Any]

log = logging.getLogger("localaws.events")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_RETRIES, _AGE_SECONDS = 185, 24 * 3600
_FUNCTION_RETRIES, _FUNCTION_AGE_SECONDS = 2, 6 * 3600
#: So many events are under way at once; each may hold a function's process.
_WORKERS = 8
#: What an API destination answers that is worth another attempt, beside every 5xx.
_TRANSIENT_STATUS = (401, 407, 409, 429)
_MISSING = ("NonExistentQueue", "NotFound", "QueueDoesNotExist")


class Undelivered(Exception):
    """A target did not take an event.

    Args:
        code: ERROR_CODE of the dead letter.
        message: ERROR_MESSAGE of the dead letter.
        is_transient: whether another attempt may succeed.
    """

    def __init__(self, code: str, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.is_transient = code, message, is_transient


class EventTargets(Service):
    """What is between an accepted event and its target."""

    scope: ClassVar[str] = "events"
    falls_through: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pending = context.state.table("pending_events")
        self._due: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="events")
        self._settled: tuple[list[str], list[str]] = [], []

    def start(self) -> None:
        """Take the place of MiniStack's dispatch, and take up what a stop or a kill left."""
        from ministack.services import eventbridge, lambda_svc

        invoke_target = eventbridge._invoke_target

        def invoke(target: Record, event: Record, rule: Record, view: Any = None) -> None:
            if ":rule/" in rule.get("Arn", "") and _sender(target["Arn"]):
                self.accept(target, rule, view or eventbridge._pattern_event_view(event))
            else:
                invoke_target(target, event, rule, view)

        eventbridge._invoke_target = invoke
        eventbridge._SCHEDULER_TICK_INTERVAL = 1  # else a schedule is up to 10 s late
        lambda_svc.invoke_async_with_retry = self.invoke_later
        for id in self._pending:
            self._schedule(id, 0)
        threading.Thread(target=self._run, name="events-due", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more; what is under way is repeated at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def saved(self) -> None:
        """Forget what was settled before the save before this one: its target has it on disk."""
        older, newer = self._settled
        self._settled = newer, []
        for id in older:
            self._pending.pop(id)

    def accept(self, target: Record, rule: Record, view: Any) -> None:
        """Keep an event for a rule's target and deliver it soon."""
        self._keep(
            {
                "id": str(uuid.uuid4()),
                "rule": rule["Arn"],
                "target": target,
                "event": json.dumps(view.event_with_detail()),
                "payload": _payload(target, rule, view),
                "since": time.time(),
                "attempts": 0,
            }
        )

    def invoke_later(self, function: Record, event: Any) -> None:
        """Keep an event for a function and invoke it soon (MiniStack's invoke_async_with_retry)."""
        config = function.get("config") or function
        self._keep(_invocation(str(uuid.uuid4()), config["FunctionArn"], json.dumps(event)))

    def _keep(self, record: Record, pause: float = 0) -> None:
        self._pending[record["id"]] = record
        self._schedule(record["id"], pause)

    def _schedule(self, id: str, pause: float) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + pause, id))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                pause = self._due[0][0] - time.monotonic() if self._due else None
                if pause is None or pause > 0:
                    self._changed.wait(pause)
                    continue
                _, id = heapq.heappop(self._due)
                self._workers.submit(self._attempt, id)

    def _attempt(self, id: str) -> None:
        if record := self._pending.get(id):
            try:
                self._invoke(record) if "function" in record else self._deliver(record)
            except Exception:
                log.exception("an event stays undelivered until the next start: %s", record)

    def _settle(self, record: Record) -> None:
        self._settled[1].append(record["id"])

    # A rule's target

    def _deliver(self, record: Record) -> None:
        target, attempts = record["target"], record["attempts"] + 1
        try:
            followed = self._send(record)
        except Undelivered as error:
            limits = target.get("RetryPolicy") or {}
            pause = _pause(attempts)
            age = time.time() + pause - record["since"]
            if not error.is_transient:
                self._bury(record, error, None)
            elif attempts > limits.get("MaximumRetryAttempts", _RETRIES):
                self._bury(record, error, "MaximumRetryAttempts")
            elif age > limits.get("MaximumEventAgeInSeconds", _AGE_SECONDS):
                self._bury(record, error, "MaximumEventAgeInSeconds")
            else:
                self._keep(record | {"attempts": attempts}, pause)
            return
        _count(record["rule"], "Invocations")
        if followed:
            self._keep(followed)
        else:
            self._settle(record)

    def _send(self, record: Record) -> Record | None:
        """Give the event to its target once; what follows from it, if anything does."""
        arn = record["target"]["Arn"]
        match _sender(arn):
            case "lambda":
                _admit_to_function(arn, record["rule"])
                return _invocation(record["id"], arn, record["payload"])
            case "sqs":
                self._send_to_queue(arn, record["payload"], record["rule"], **_group(record))
            case "sns":
                self._publish(arn, record)
            case _:
                _send_to_api(arn, record)
        return None

    def _send_to_queue(self, arn: str, body: str, rule: str, **more: Any) -> None:
        from ministack.services import sqs

        queue = sqs._queue_by_arn(arn)
        if queue is None:
            raise Undelivered("NO_RESOURCE", f"The queue {arn} does not exist.")
        _admit("sqs:SendMessage", arn, queue["attributes"].get("Policy"), rule)
        self._call("sqs", "send_message", QueueUrl=queue["url"], MessageBody=body, **more)

    def _publish(self, arn: str, record: Record) -> None:
        from ministack.services import sns

        topic = sns._topics.get(arn)
        if topic is None:
            raise Undelivered("NO_RESOURCE", f"The topic {arn} does not exist.")
        _admit("sns:Publish", arn, topic["attributes"].get("Policy"), record["rule"])
        self._call("sns", "publish", TopicArn=arn, Message=record["payload"])

    def _call(self, service: str, action: str, **request: Any) -> None:
        try:
            getattr(self.context.client(service), action)(**request)
        except ClientError as error:
            code = error.response["Error"]["Code"].rpartition(".")[2]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            is_missing = code in _MISSING
            raise Undelivered(
                "NO_RESOURCE" if is_missing else "ERROR_FROM_TARGET",
                str(error),
                is_transient=not is_missing and (status >= 500 or status == 429),
            ) from None
        except BotoCoreError as error:
            raise Undelivered("CONNECTION_FAILURE", str(error), is_transient=True) from None

    def _bury(self, record: Record, error: Undelivered, condition: str | None) -> None:
        rule, target = record["rule"], record["target"]
        _count(rule, "FailedInvocations")
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        about = {
            "RULE_ARN": rule,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": error.message[:1024],
            "EXHAUSTED_RETRY_CONDITION": condition,
            "RETRY_ATTEMPTS": str(record["attempts"]),
        }
        if queue:
            attributes = {
                name: {"DataType": "String", "StringValue": value}
                for name, value in about.items()
                if value
            }
            try:
                self._send_to_queue(queue, record["event"], rule, MessageAttributes=attributes)
                _count(rule, "InvocationsSentToDlq")
            except Undelivered as refused:
                _count(rule, "InvocationsFailedToBeSentToDlq")
                log.warning("%s has no dead letter for %s: %s", queue, rule, refused)
        else:
            log.warning("%s dropped an event: %s", rule, about)
        self._settle(record)

    # A function

    def _invoke(self, record: Record) -> None:
        from ministack.services import lambda_svc

        arn = record["function"]
        function, config, name = lambda_svc._get_func_record_for_ref(arn)
        base, _, _ = lambda_svc._get_base_func_record_for_ref(arn)
        if function is None or config is None or base is None:
            log.warning("an event for %s is dropped: there is no such function", name)
            self._settle(record)
            return
        _, qualifier = lambda_svc._lambda_function_name_and_qualifier_from_arn(arn)
        key = None if qualifier == "$LATEST" else qualifier
        limits = lambda_svc._event_invoke_config(base, key) or {}
        about = {"role": config.get("Role", ""), "version": config.get("Version", "$LATEST")}
        about["dead_letters"] = (config.get("DeadLetterConfig") or {}).get("TargetArn", "")
        reserved = lambda_svc._reserved_concurrency(function, config)
        called = lambda_svc._execution_record_for_config(function, config | {"FunctionArn": arn})
        result: Record = {"throttle": True, "error": True}
        if reserved != 0:
            payload = json.loads(record["payload"])
            result = lambda_svc._execute_function_with_config_scope(called, payload)
        if not result.get("error"):
            self._report(record, about, limits, result, "Success")
            return
        retries = limits.get("MaximumRetryAttempts", _FUNCTION_RETRIES)
        # A throttled event has not reached the function: only age ends it.
        failed = {"throttles" if result.get("throttle") else "attempts"}
        record = record | {key: record.get(key, 0) + 1 for key in failed}
        pause = _pause(record["attempts"] + record.get("throttles", 0))
        age = time.time() + pause - record["since"]
        if reserved == 0:
            self._report(record, about, limits, result, "ZeroReservedConcurrency")
        elif not result.get("throttle") and record["attempts"] > retries:
            self._report(record, about, limits, result, "RetriesExhausted")
        elif age > limits.get("MaximumEventAgeInSeconds", _FUNCTION_AGE_SECONDS):
            self._report(record, about, limits, result, "EventAgeExceeded")
        else:
            self._keep(record, pause)

    def _report(
        self, record: Record, about: Record, limits: Record, result: Record, condition: str
    ) -> None:
        """Tell the function's destination, and its dead-letter queue, how the event ended."""
        is_success = condition == "Success"
        destinations = limits.get("DestinationConfig") or {}
        place = destinations.get("OnSuccess" if is_success else "OnFailure") or {}
        with acting_as(about["role"]):
            if destination := place.get("Destination"):
                self._tell(destination, _invocation_record(record, about, result, condition))
            if about["dead_letters"] and not is_success:
                self._tell(about["dead_letters"], record["payload"], _dead_letter(record, result))
        self._settle(record)

    def _tell(self, arn: str, body: str, attributes: Record | None = None) -> None:
        client = self.context.client
        more = {"MessageAttributes": attributes} if attributes else {}
        try:
            match arn.split(":")[2]:
                case "sqs":
                    url = client("sqs").get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
                    client("sqs").send_message(QueueUrl=url, MessageBody=body, **more)
                case "sns":
                    client("sns").publish(TopicArn=arn, Message=body, **more)
                case "lambda":
                    client("lambda").invoke(
                        FunctionName=arn, InvocationType="Event", Payload=body.encode()
                    )
                case "events":
                    kind = "Success" if '"condition": "Success"' in body else "Failure"
                    entry = {
                        "Source": "lambda",
                        "DetailType": f"Lambda Function Invocation Result - {kind}",
                        "Detail": body,
                        "EventBusName": arn,
                    }
                    client("events").put_events(Entries=[entry])
        except (ClientError, BotoCoreError) as error:
            log.warning("%s was not told how an asynchronous invocation ended: %s", arn, error)


def _sender(arn: str) -> str:
    """Which way leads to a target; empty for what MiniStack does."""
    service = arn.split(":")[2] if arn.count(":") >= 5 else ""
    if service == "events":
        return "api" if ":api-destination/" in arn else ""
    return service if service in ("lambda", "sqs", "sns") else ""


def _payload(target: Record, rule: Record, view: Any) -> str:
    """What the target makes of the event."""
    from ministack.services import eventbridge

    if transformer := target.get("InputTransformer"):
        return str(eventbridge._apply_input_transformer(transformer, rule, view))
    if target.get("Input"):
        return str(target["Input"])
    found = event = view.event_with_detail()
    for part in filter(None, (target.get("InputPath") or "$").strip("$.").split(".")):
        found = found.get(part) if isinstance(found, dict) else None
    return json.dumps(event if found is None else found)


def _group(record: Record) -> Record:
    """What a FIFO queue asks for."""
    if not record["target"]["Arn"].endswith(".fifo"):
        return {}
    group = (record["target"].get("SqsParameters") or {}).get("MessageGroupId")
    return {"MessageGroupId": group, "MessageDeduplicationId": record["id"]} if group else {}


def _invocation(id: str, arn: str, payload: str) -> Record:
    try:
        json.loads(payload)
    except ValueError as error:
        raise Undelivered("INVALID_JSON", f"The input is not JSON: {error}") from None
    record = {"id": id, "function": arn, "payload": payload, "since": time.time()}
    return record | {"attempts": 0}


def _invocation_record(record: Record, about: Record, result: Record, condition: str) -> str:
    """What a destination is told.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    arn, version = record["function"], about["version"]
    qualified = arn if arn.count(":") > 6 else f"{arn}:$LATEST"
    is_success = condition == "Success"
    attempts = record["attempts"] + (1 if is_success else 0)
    told: Record = {
        "version": "1.0",
        "timestamp": now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": record["id"],
            "functionArn": qualified,
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "requestPayload": json.loads(record["payload"]),
    }
    if not result.get("throttle"):  # else the function was never reached
        context: Record = {"statusCode": 200, "executedVersion": version}
        if not is_success:
            context["functionError"] = result.get("function_error") or "Unhandled"
        told |= {"responseContext": context, "responsePayload": result.get("body")}
    return json.dumps(told)


def _dead_letter(record: Record, result: Record) -> Record:
    """The attributes of the event in a function's dead-letter queue."""
    body = result.get("body")
    message = "Rate Exceeded." if result.get("throttle") else ""
    if isinstance(body, Mapping) and not message:
        message = str(body.get("errorMessage", ""))
    status = "429" if result.get("throttle") else "200"
    return {
        "RequestID": {"DataType": "String", "StringValue": record["id"]},
        "ErrorCode": {"DataType": "Number", "StringValue": status},
        "ErrorMessage": {"DataType": "String", "StringValue": message[:1024] or "Unknown"},
    }


def _admit_to_function(arn: str, rule: str) -> None:
    """Raise Undelivered if there is no such function or it does not let the rule in."""
    from ministack.services import lambda_svc

    function, _, _ = lambda_svc._get_func_record_for_ref(arn)
    base, _, _ = lambda_svc._get_base_func_record_for_ref(arn)
    if function is None or base is None:
        raise Undelivered("NO_RESOURCE", f"Function not found: {arn}")
    _admit("lambda:InvokeFunction", arn, base.get("policy"), rule)


def _admit(action: str, arn: str, policy: Any, rule: str) -> None:
    """Raise Undelivered unless the resource's policy lets EventBridge act for the rule."""
    if not resource_policy.admits(policy, "events.amazonaws.com", action, arn, rule):
        raise Undelivered(
            "NO_PERMISSIONS",
            f"events.amazonaws.com is not authorized to perform: {action} on resource: {arn} "
            f"because no resource-based policy allows it for {rule}",
        )


def _send_to_api(arn: str, record: Record) -> None:
    """One HTTP request to an API destination."""
    from ministack.services import eventbridge

    name = arn.split(":api-destination/")[1].partition("/")[0]
    api = eventbridge._api_destinations.get(name)
    connection_name = (api or {}).get("ConnectionArn", "").rpartition("/")[2]
    connection = eventbridge._connections.get(connection_name)
    if api is None or connection is None:
        raise Undelivered("NO_RESOURCE", f"The API destination {name} or its connection is gone.")
    region, account = arn.split(":")[3:5]
    given = record["target"].get("HttpParameters") or {}
    parameters = eventbridge._resolve_http_parameters(given, json.loads(record["event"]))
    request = eventbridge._build_api_destination_request(
        api, connection, parameters, record["payload"]
    )
    try:
        headers = eventbridge._connection_auth_headers(
            connection, (account, region, connection_name)
        )
        status = eventbridge._api_destination_send_sync(request, headers)
    except OSError as error:
        raise Undelivered("CONNECTION_FAILURE", str(error), is_transient=True) from None
    if not 200 <= status < 300:
        is_transient = status >= 500 or status in _TRANSIENT_STATUS
        message = f"The API destination answered with HTTP status {status}."
        raise Undelivered("ERROR_FROM_TARGET", message, is_transient=is_transient)


def _pause(attempts: int) -> float:
    """Seconds to the next attempt: exponential, with jitter."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 16))
    return longest * random.uniform(0.75, 1)


def _count(rule: str, metric: str) -> None:
    bus, _, name = rule.partition(":rule/")[2].rpartition("/")
    dimensions = {"EventBusName": bus, "RuleName": name} if bus else {"RuleName": name}
    service_metrics.add("AWS/Events", dimensions, **{metric: (1, "Count")})
