"""How fast the producer writes a file: events per second of the whole command, start included.

Usage: ``python tests/bench/bench_producer.py [EVENTS] [RUNS]``. Prints one JSON line.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BAR_EVENTS_PER_SECOND = 100_000


def main(events: int = 500_000, runs: int = 5) -> int:
    """Measure; the exit code is 1 when the bar is missed."""
    rates: dict[str, list[int]] = {"events.json": [], "events.json.gz": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in list(rates) * runs:
            command = [sys.executable, "-m", "producer", "--sink", "file", "--dirty"]
            command += ["--out", f"{folder}/{name}", "--events", str(events)]
            command += ["--start", "2026-03-02", "--summary", f"{folder}/summary.json"]
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, timeout=120)
            rates[name].append(round(events / (time.perf_counter() - started)))
        size = Path(folder, "events.json").stat().st_size
    result = {
        "bench": "producer",
        "events": events,
        "bytes_per_event": round(size / events),
        "bar": BAR_EVENTS_PER_SECOND,
    }
    for name, measured in rates.items():
        kind = "gzip" if name.endswith(".gz") else "plain"
        result[f"{kind}_min"] = min(measured)
        result[f"{kind}_median"] = round(statistics.median(measured))
    print(json.dumps(result))
    return 0 if result["plain_median"] >= BAR_EVENTS_PER_SECOND else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
