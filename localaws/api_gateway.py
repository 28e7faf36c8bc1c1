"""REST APIs (v1) in front of functions, where MiniStack answers otherwise than API Gateway.

The limits of a request's size and time, a function that fails or answers with something else than
a response, a function whose policy does not let the API in, and the API's metrics.
https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from localaws import resource_policy, service_metrics

BODY_BYTES = 10 << 20
_EVENT_BYTES = 6 << 20
_SECONDS = 29.0
_RESPONSE = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
_ERROR_TYPES = {
    "INVALID_API_KEY": "ForbiddenException",
    "QUOTA_EXCEEDED": "LimitExceededException",
}
_FAILED = "Internal server error"


class _Refusal(Exception):
    """The gateway's own answer instead of the function's."""

    def __init__(self, kind: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.status = kind, message, status


def install() -> None:
    """Put the mends into MiniStack's REST APIs. Call it before it serves."""
    from ministack.services import apigateway_v1 as gateway

    execute, handle = gateway._execute_in_scope, gateway._handle_execute_in_scope
    call, build, render = (
        gateway._call_lambda_raw,
        gateway._build_lambda_event_v1,
        gateway._gateway_error_response,
    )

    async def execute_in_scope(request: Any, api: str, stage: str, *rest: Any) -> Any:
        found, body = gateway._stages_v1.get(api, {}).get(stage), rest[3]
        if found and body and len(body) > BODY_BYTES:
            request["stage"] = found
            message = f"HTTP content length exceeded {BODY_BYTES} bytes."
            return gateway._gw_error("REQUEST_TOO_LARGE", message)
        return await execute(request, api, stage, *rest)

    async def handle_execute_in_scope(api: str, stage: str, *rest: Any) -> Any:
        started = time.perf_counter()
        answer = await handle(api, stage, *rest)
        name = (gateway._rest_apis.get(api) or {}).get("name", api)
        _count({"ApiName": name, "Stage": stage}, answer[0], time.perf_counter() - started)
        return answer

    async def call_lambda(ref: str, event: Any, **place: Any) -> Any:
        if not _is_admitted(ref, event, place):
            return None, f"{ref} does not let the API in"
        if len(json.dumps(event)) > _EVENT_BYTES:
            raise _Refusal("REQUEST_TOO_LARGE", "Request Too Long")
        try:
            result, error = await asyncio.wait_for(call(ref, event, **place), _SECONDS)
        except TimeoutError:
            message = "Endpoint request timed out"
            raise _Refusal("INTEGRATION_TIMEOUT", message) from None
        if result and result.get("throttle"):
            raise _Refusal("DEFAULT_5XX", _FAILED, 500)
        return result, error

    def refusing(invoke: Any) -> Any:
        async def answer(*parts: Any, **more: Any) -> Any:
            try:
                return await invoke(*parts, **more)
            except _Refusal as refusal:
                error = gateway._gw_error(refusal.kind, refusal.message)
                error.status = refusal.status
                return error

        return answer

    def error_response(error: Any, request: Any) -> Any:
        status, headers, body = render(error, request)
        if getattr(error, "status", None):  # one type stands for several statuses
            status = error.status
        return status, headers, body

    def build_event(*parts: Any, **more: Any) -> Any:
        event = build(*parts, **more)
        resource, method, headers = parts[3], parts[5], parts[6]
        methods = resource.get("resourceMethods") or {}
        if (methods.get(method) or methods.get("ANY") or {}).get("apiKeyRequired"):
            key = gateway._resolve_api_key(gateway._api_key_from_request(headers)) or {}
            identity = event["requestContext"]["identity"]
            identity |= {"apiKey": key.get("value"), "apiKeyId": key.get("id")}
        return event

    gateway._GATEWAY_RESPONSE_ERROR_TYPES.update(_ERROR_TYPES)
    gateway._execute_in_scope = execute_in_scope
    gateway._handle_execute_in_scope = handle_execute_in_scope
    gateway._call_lambda_raw = call_lambda
    gateway._build_lambda_event_v1 = build_event
    gateway._gateway_error_response = error_response
    gateway._lambda_proxy_response = _proxy_response
    for name in ("_invoke_lambda_proxy_v1", "_invoke_lambda_custom_v1"):
        setattr(gateway, name, refusing(getattr(gateway, name)))


def _is_admitted(ref: str, event: Any, place: Any) -> bool:
    """Whether the function's policy lets this method of the API invoke it."""
    from ministack.services import lambda_svc

    function, config, _ = lambda_svc._get_func_record_for_ref(ref)
    base, _, _ = lambda_svc._get_base_func_record_for_ref(ref)
    if function is None or config is None or base is None:
        return True  # MiniStack answers for what does not exist
    about = event["requestContext"]
    method = f"{about['apiId']}/{about['stage']}/{about['httpMethod']}{about['resourcePath']}"
    source = f"arn:aws:execute-api:{place['region']}:{place['account_id']}:{method}"
    arn = ref if ref.startswith("arn:") else config["FunctionArn"]
    return resource_policy.admits(
        base.get("policy"), "apigateway.amazonaws.com", "lambda:InvokeFunction", arn, source
    )


def _proxy_response(result: Any) -> tuple[Any, None]:
    """The function's response; API Gateway answers 502 for what is none."""
    response = result.get("body")
    is_response = (
        not result.get("error")
        and isinstance(response, dict)
        and response.keys() <= _RESPONSE
        and isinstance(response.get("body") or "", str)
        and str(response.get("statusCode", 200)).isdecimal()
    )
    if not is_response:
        raise _Refusal("DEFAULT_5XX", _FAILED, 502)
    status = int(response.get("statusCode", 200))
    return response | {"statusCode": status, "body": response.get("body") or ""}, None


def _count(dimensions: dict[str, str], status: int, seconds: float) -> None:
    service_metrics.add(
        "AWS/ApiGateway",
        dimensions,
        Count=(1, "Count"),
        Latency=(seconds * 1000, "Milliseconds"),
        **{"4XXError": (400 <= status < 500, "Count"), "5XXError": (status >= 500, "Count")},
    )
