"""API Gateway's patches: everything is text in them, and a path may lead into a list.

MiniStack keeps the texts as they are (a disabled key is "false", and works), and makes a mapping of
a list that a patch adds to.
https://docs.aws.amazon.com/apigateway/latest/api/patch-operations.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]

_FLAGS = {
    "apiKeyRequired", "cacheClusterEnabled", "disableExecuteApiEndpoint", "enabled",
    "tracingEnabled", "validateRequestBody", "validateRequestParameters",
}  # fmt: skip
_NUMBERS = {
    "authorizerResultTtlInSeconds": int,
    "burstLimit": int,
    "limit": int,
    "minimumCompressionSize": int,
    "offset": int,
    "rateLimit": float,
    "timeoutInMillis": int,
}
_LISTS = {"authorizationScopes", "binaryMediaTypes", "cacheKeyParameters", "providerARNs", "types"}


def install() -> None:
    """Put it into MiniStack's REST APIs. Call it before it serves."""
    from ministack.services import apigateway_v1

    apigateway_v1._apply_patch = apply


def apply(record: Record, patches: Iterable[Record]) -> Record:
    """Change `record` as the patches say, and return it."""
    for patch in patches:
        keys = [_decoded(key) for key in patch.get("path", "").removeprefix("/").split("/")]
        operation, value = patch.get("op", "replace"), patch.get("value")
        if keys[0] == "apiStages":
            _patch_stages(record, keys[1:], operation, value)
        elif len(keys) > 1 and keys[-2] in _LISTS:
            _patch_list(_inner(record, keys[:-2]), keys[-2], keys[-1], operation, value)
        elif operation == "remove":
            _inner(record, keys[:-1]).pop(keys[-1], None)
        else:
            _inner(record, keys[:-1])[keys[-1]] = _typed(keys[-1], value)
    return record


def _decoded(key: str) -> str:
    return key.replace("~1", "/").replace("~0", "~")


def _inner(record: Record, keys: Iterable[str]) -> Record:
    for key in keys:
        if not isinstance(record.get(key), dict):
            record[key] = {}
        record = record[key]
    return record


def _typed(name: str, value: Any) -> Any:
    if name in _FLAGS or name.startswith("method."):  # whether a parameter must be there
        return str(value).lower() == "true"
    if name in _NUMBERS:
        return _NUMBERS[name](value) if value not in (None, "") else None
    return value


def _patch_list(record: Record, name: str, item: str, operation: str, value: Any) -> None:
    items = list(record.get(name) or [])
    if operation == "replace" and item.isdecimal():
        items[int(item) : int(item) + 1] = [value]
    elif operation == "replace":
        items = [value if value and known == item else known for known in items]
    else:
        items = [known for known in items if known != item]
        items += [item] if operation == "add" else []
    record[name] = items


def _patch_stages(plan: Record, keys: list[str], operation: str, value: Any) -> None:
    """A usage plan's stages, named ``api:stage``, and the limits of their methods."""
    stages = plan.setdefault("apiStages", [])
    api, _, stage = (keys[0] if keys else str(value)).partition(":")
    known = [entry for entry in stages if (entry["apiId"], entry["stage"]) == (api, stage)]
    if keys and known:
        (entry,) = known
        *method, limit = keys[2:] or [""]
        if operation == "remove":
            name = "/" + "/".join(keys[2:]).strip("/")
            entry.get("throttle", {}).pop(name, None)
        else:
            name = "/" + "/".join(method).strip("/")
            entry.setdefault("throttle", {}).setdefault(name, {})[limit] = _typed(limit, value)
    elif not keys and operation == "remove":
        plan["apiStages"] = [entry for entry in stages if entry not in known]
    elif not keys and not known:
        stages.append({"apiId": api, "stage": stage})
