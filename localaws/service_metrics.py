"""The metrics that AWS's services keep of themselves, in MiniStack's CloudWatch."""

from __future__ import annotations

import time
from typing import Any


def add(namespace: str, dimensions: dict[str, str], **values: tuple[float, str]) -> None:
    """Add one value, with its unit, to each metric.

    Equal values of a minute are one point with a count: MiniStack keeps every point in memory, and
    copies them all when it saves.
    """
    from ministack.services import cloudwatch

    minute = time.time() // 60 * 60
    for name, (value, unit) in values.items():
        points = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dimensions)))
        value = float(f"{value:.2g}")
        for point in reversed(points):
            if point["Timestamp"] != minute:
                points.append(_point(minute, value, unit, dimensions))
                break
            if point["Value"] == value:
                point["Count"] += 1
                break
        else:
            points.append(_point(minute, value, unit, dimensions))


def _point(minute: float, value: float, unit: str, dimensions: dict[str, str]) -> dict[str, Any]:
    point = {"Timestamp": minute, "Value": value, "Unit": unit, "Count": 1.0}
    return point | {"Dimensions": dict(dimensions)}
