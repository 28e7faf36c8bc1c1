"""The embedded metric format: metrics that CloudWatch reads out of log lines.

Whatever comes into a log group is looked through. A line that is not whole in the format stays what
it is, a log line; so does every other.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from localaws.service import Context

Datum = dict[str, Any]

log = logging.getLogger("localaws.metrics")

_VALUES, _METRICS, _DIMENSIONS = 100, 100, 30
_TEXT = 1024
_SIZES = {
    f"{size}{unit}".capitalize()
    for size in ("", "kilo", "mega", "giga", "tera")
    for unit in ("bytes", "bits")
}
_UNITS = {"None", "Count", "Percent", "Seconds", "Microseconds", "Milliseconds", *_SIZES}
_UNITS |= {f"{unit}/Second" for unit in ("Count", *_SIZES)}
#: CloudWatch takes neither what is older nor what is more in the future.
_PAST, _FUTURE = 14 * 24 * 3600, 2 * 3600


def install(context: Context) -> None:
    """Look through MiniStack's log events. Call it before it serves."""
    from ministack.services import cloudwatch, cloudwatch_logs

    append = cloudwatch_logs._append_log_events

    def append_log_events(stream: Any, events: list[Datum]) -> None:
        append(stream, events)
        found = [datum for event in events for datum in metrics(event["message"])]
        for datum in found:
            cloudwatch._store_datum(**datum)
        if found:
            context.unsaved.add("monitoring")
            cloudwatch._evaluate_all_alarms()

    cloudwatch_logs._append_log_events = append_log_events


def metrics(message: str) -> list[Datum]:
    """A line's metrics, once for each set of dimensions; none if any part of it is malformed."""
    if '"_aws"' not in message:
        return []
    try:
        line = orjson.loads(message)
        about = line["_aws"]
        stamp = _number(about["Timestamp"]) / 1000
        if not -_PAST < stamp - time.time() < _FUTURE:
            raise ValueError(f"CloudWatch takes no metric of {stamp}")
        return [
            datum
            for directive in _list(about["CloudWatchMetrics"])
            for datum in _read(line, directive, stamp)
        ]
    except (KeyError, TypeError, ValueError) as error:
        log.info("a log line's metrics are left where they are: %r", error)
        return []


def _read(line: Datum, directive: Datum, stamp: float) -> Iterator[Datum]:
    namespace = _text(directive["Namespace"], _TEXT)
    sets = [
        {name: _text(line[name], _TEXT) for name in _some(names, _DIMENSIONS)}
        for names in _list(directive["Dimensions"])
    ]
    for metric in _some(directive["Metrics"], _METRICS):
        values = line[_text(metric["Name"], _TEXT)]
        counts = Counter(
            _number(value)
            for value in _some(values if isinstance(values, list) else [values], _VALUES)
        )
        unit = metric.get("Unit", "None")
        if unit not in _UNITS:
            raise ValueError(f"{unit} is not a unit")
        for dimensions in sets:
            yield {
                "namespace": namespace,
                "name": metric["Name"],
                "dims": dimensions,
                "ts": stamp,
                "unit": unit,
                "value": None,
                "values": list(counts),
                "counts": [float(count) for count in counts.values()],
                "stat_values": None,
            }


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _some(values: Any, most: int) -> Iterable[Any]:
    if len(_list(values)) > most:
        raise ValueError(f"there are more than {most}")
    return values


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError(f"{value!r} is not a name")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)
