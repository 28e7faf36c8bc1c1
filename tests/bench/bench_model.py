"""The model job against the clean job that feeds it; prints one JSON line.

``python tests/bench/bench_model.py --events 2000000``

Both are processes of their own on all cores of this machine, their start included, with the
settings that the embedded AWS gives Spark; they run one after the other over the same day.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from bench_clean import ROOT, make_raw, run, use_spark

SPAN = ("--interval-start=2026-11-20T00:00:00Z", "--interval-end=2026-11-21T00:00:00Z")


def main() -> None:
    """Make a day of traffic, clean it, build its model, compare the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--driver-memory", default="3g")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_raw(folder / "raw", arguments.events)
        use_spark(arguments.driver_memory)
        lake = f"--lake-path=file:{folder}/lake/"
        clean_seconds, cleaned = run(
            ROOT / "glue" / "clean_events.py",
            *(*SPAN, lake, f"--raw-path=file:{folder}/raw/"),
            f"--quarantine-path=file:{folder}/quarantine/",
            f"--tombstones-path=file:{folder}/tombstones/",
        )
        model_seconds, built = run(
            ROOT / "glue" / "build_model.py", *SPAN, lake, "--site-hosts=shop.example"
        )
    report = {
        "events": json.loads(cleaned)["loaded_count"],
        "sessions": json.loads(built)["row_counts"]["fact_sessions"],
        "clean_seconds": round(clean_seconds, 1),
        "model_seconds": round(model_seconds, 1),
        "time_ratio": round(model_seconds / clean_seconds, 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
