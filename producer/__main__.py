"""Send the click traffic of a simulated shop to a stream or a file.

The visitors, what they do and what goes wrong on the way come from --seed: the same arguments,
with --start and --end given, make the same bytes on every machine and for every sink.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import signal
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from producer.dirt import DIRTY, MALFORMED, Rates
from producer.journeys import Event
from producer.sinks import APIS, MAX_IN_FLIGHT, FileSink, Sink, StreamSink, make_client
from producer.spool import OVERSIZE_FILE, Spool, Trouble
from producer.traffic import Plan, stream

DEFAULT_EVENTS = 10_000
DAY = timedelta(days=1)
#: Lines handed to the sink at a time.
PART = 500
WARM_UP = timedelta(minutes=10)
#: What "until stopped" means.
ENDLESS = 3_650 * DAY

EXAMPLES = """\
examples:
  python -m producer --sink stdout --events 20
  python -m producer --sink file --out day.json.gz --start 2026-03-02 --events 200000 --dirty
  python -m producer --sink firehose --stream clickstream-dev-direct --rate 1
  python -m producer --sink kinesis --stream clickstream-dev-events --rate 500 --duration 60
  python -m producer --sink firehose --stream clickstream-dev-direct --drain-only

With --rate and no window the traffic is live: an event is sent when it happens. With a window,
--rate only paces the sending. The streams' address, region and credentials are those of boto3:
AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and so on, or a profile.

lines = events + duplicates + collisions + malformed + blank
lines = sent + spooled + oversize + failed

exit code: 0 all lines sent; 1 some were not (the last line says what to do); 2 bad arguments;
128 + n ended by signal n.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the producer; returns the exit code."""
    arguments = _parse(argv)
    stop, caught = threading.Event(), list[int]()

    def on_signal(number: int, _: object) -> None:
        caught.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    gc.set_threshold(100_000)  # events are many, garbage in cycles is rare
    try:
        code = Run(arguments, stop).execute()
    except Trouble as trouble:
        print(f"producer: {trouble}", file=sys.stderr)
        return 1
    return 128 + caught[0] if caught else code


class Run:
    """One run: the way of the lines from the plan to the sink, and what is said about it."""

    def __init__(self, arguments: argparse.Namespace, stop: threading.Event) -> None:
        self._arguments, self._stop = arguments, stop
        self._plan: Plan = arguments.plan
        self._kinds: Counter[str] = Counter()
        self._bytes = self._skipped = 0
        self._first_at: int | None = None
        self._last_at: int | None = None
        self._spool: Spool | None = None

    def execute(self) -> int:
        """Send everything; returns the exit code."""
        arguments, started, trouble = self._arguments, time.monotonic(), None
        with contextlib.ExitStack() as stack:
            sink = self._open_sink(stack)
            try:
                if isinstance(sink, StreamSink):
                    sink.drain()
                if not arguments.drain_only:
                    self._send_all(sink)
            except Trouble as error:
                trouble = error
            except OSError as error:
                trouble = Trouble(f"the spool {arguments.spool} cannot be used: {error.strerror}")
            try:
                sink.close()
            except Trouble as error:
                trouble = trouble or error
            summary = self._summary(sink.counts, time.monotonic() - started)
            self._write(summary)
            problems = self._problems(summary, trouble)
        for problem in problems:
            print(f"producer: {problem}", file=sys.stderr)
        return 1 if problems else 0

    def _open_sink(self, stack: contextlib.ExitStack) -> Sink:
        arguments = self._arguments
        if arguments.sink == "stdout":
            return FileSink(None)
        if arguments.sink == "file":
            return FileSink(arguments.out)
        self._spool = stack.enter_context(Spool(arguments.spool, arguments.spool_limit * 2**20))
        return StreamSink(
            APIS[arguments.sink],
            arguments.stream,
            lambda: make_client(arguments.sink, arguments.endpoint_url),
            self._spool,
            self._stop,
            arguments.in_flight,
            arguments.patience,
        )

    def _send_all(self, sink: Sink) -> None:
        with _progress(self._plan.events if self._arguments.is_finite else None) as advance:
            for part in self._paced(self._skipping(stream(self._plan)), sink.tick):
                sink.send(part)
                self._kinds.update(event.dirt for event in part)
                self._bytes += sum(len(event.line) for event in part)
                happened = [event.at for event in part if not event.dirt] or [
                    self._last_at or part[0].at
                ]
                self._first_at = self._first_at or happened[0]
                self._last_at = happened[-1]
                advance(len(part))

    def _skipping(self, chunks: Iterable[list[Event]]) -> Iterator[list[Event]]:
        """Leave out the first lines, and in live traffic what happened before now."""
        count, not_before = self._arguments.skip_lines, (self._arguments.not_before,)
        for chunk in chunks:
            first = max(count, bisect_left(chunk, not_before))
            self._skipped += sum(_is_event(event.dirt) for event in chunk[:first])
            yield chunk[first:]
            count = max(0, count - len(chunk))

    def _paced(
        self, chunks: Iterable[list[Event]], idle: Callable[[], None]
    ) -> Iterator[list[Event]]:
        """Parts of the chunks when they are due, until a signal comes."""
        rate, started, done = self._arguments.rate, time.time(), 0
        for chunk in chunks:
            position = 0
            while position < len(chunk) and not self._stop.is_set():
                due = position + PART
                if self._arguments.is_live:
                    due = bisect_right(chunk, (int(time.time() * 1000),))
                elif rate:
                    due = position + int((time.time() - started) * rate) - done
                if due <= position:
                    idle()
                    self._stop.wait(0.02)
                    continue
                part = chunk[position : min(due, position + PART)]
                yield part
                position += len(part)
                done += len(part)
            if self._stop.is_set():
                return

    def _summary(self, counts: Counter[str], seconds: float) -> dict[str, Any]:
        kinds, lines = self._kinds, self._kinds.total()
        injected: dict[str, Any] = {field.name: kinds[field.name] for field in fields(Rates)}
        injected["malformed"] = {
            kind: kinds[f"malformed.{kind}"] for kind in MALFORMED if kinds[f"malformed.{kind}"]
        }
        return {
            "events": sum(count for kind, count in kinds.items() if _is_event(kind)),
            "lines": lines,
            **{
                name: counts[name]
                for name in ("sent", "spooled", "oversize", "failed", "resent", "drained")
            },
            "bytes": self._bytes,
            "injected": injected,
            "seconds": round(seconds, 3),
            "rate": round(lines / seconds),
            "first_event_at": _iso(self._first_at),
            "last_event_at": _iso(self._last_at),
            "start": _iso(self._plan.start),
            "end": _iso(self._plan.end),
            "seed": self._plan.seed,
        }

    def _write(self, summary: dict[str, Any]) -> None:
        text = json.dumps(summary) + "\n"
        if not self._arguments.summary:
            sys.stderr.write(text)
            return
        try:
            self._arguments.summary.write_text(text)
        except OSError as error:
            raise Trouble(
                f"{self._arguments.summary} cannot be written: {error.strerror}"
            ) from None

    def _problems(self, summary: dict[str, Any], trouble: Trouble | None) -> list[str]:
        arguments, problems = self._arguments, []
        if trouble:
            problems.append(str(trouble))
        if summary["failed"]:
            problems.append(
                f"{summary['failed']} lines were neither sent nor spooled; run the same command "
                "again: what has arrived already is a duplicate and does no harm"
            )
        if summary["oversize"]:
            problems.append(
                f"{summary['oversize']} lines are larger than the stream takes; they lie in "
                f"{arguments.spool}/{OVERSIZE_FILE}"
            )
        if self._spool and self._spool.segments():
            problems.append(
                f"lines wait in the spool {arguments.spool}; send them with --drain-only"
            )
        missing = self._plan.events - self._skipped - summary["events"]
        if trouble and missing and self._spool and not (arguments.is_live or arguments.drain_only):
            problems.append(
                f"{missing} of {self._plan.events} events were not sent; go on with the same "
                f"arguments and --start {summary['start']} --end {summary['end']} "
                f"--skip-lines {arguments.skip_lines + summary['lines']}"
            )
        return problems


def _is_event(dirt: str) -> bool:
    """Late events and those with an unknown field are events; other dirt is a line more."""
    return dirt in ("", "late", "unknown_fields")


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal; nothing when standard error is not one."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("events", total=total)
        yield lambda count: progress.advance(task, count)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m producer",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_argument_group("where to")
    where.add_argument("--sink", choices=("stdout", "file", *APIS), default="stdout")
    where.add_argument("--stream", metavar="NAME", help="name of the Firehose or Kinesis stream")
    where.add_argument("--out", type=Path, metavar="PATH", help="file; gzipped when it ends in .gz")
    where.add_argument("--endpoint-url", metavar="URL", help="address of AWS (AWS_ENDPOINT_URL)")
    where.add_argument(
        "--summary", type=Path, metavar="PATH", help="write the JSON summary there, not to stderr"
    )

    what = parser.add_argument_group("what")
    what.add_argument("--seed", type=int, default=1, help="default %(default)s")
    what.add_argument(
        "--start", type=_moment, metavar="ISO", help="first moment, UTC (default: --end less a day)"
    )
    what.add_argument(
        "--end", type=_moment, metavar="ISO", help="moment after the last (default: now)"
    )
    what.add_argument(
        "--events",
        type=_count,
        metavar="N",
        help=f"events before dirt adds lines (default {DEFAULT_EVENTS}; live: until stopped)",
    )
    what.add_argument("--users", type=_count, default=5_000, help="default %(default)s")
    what.add_argument(
        "--old-clients",
        type=_rate,
        default=0.06,
        metavar="RATE",
        help="share of the visits whose client says timestamp, additional_data and epoch "
        "milliseconds, or sends no event_id (default %(default)s)",
    )

    pace = parser.add_argument_group("how fast (default: as fast as possible)")
    pace.add_argument("--rate", type=_positive, metavar="N", help="lines per second")
    pace.add_argument(
        "--duration", type=_positive, metavar="S", help="seconds; with --rate, in place of --events"
    )

    dirt = parser.add_argument_group("dirt (share of the events, 0 to 1)")
    dirt.add_argument(
        "--dirty",
        action="store_true",
        help="a realistic mix: "
        + ", ".join(f"{field.name} {getattr(DIRTY, field.name)}" for field in fields(Rates)),
    )
    for name, text in (
        ("duplicates", "the same line again, up to two hours later"),
        ("late", "the event happened up to --late-days before"),
        ("malformed", "a broken line more: " + ", ".join(MALFORMED)),
        ("unknown-fields", "a field the contract does not know"),
        ("collisions", "another event with the same id and time"),
        ("blank", "an empty line more"),
    ):
        dirt.add_argument(f"--{name}", type=_rate, metavar="RATE", help=text)
    dirt.add_argument(
        "--late-days", type=_positive, default=3.0, metavar="N", help="default %(default)s"
    )

    safety = parser.add_argument_group("delivery (firehose and kinesis)")
    safety.add_argument(
        "--spool",
        type=Path,
        metavar="DIR",
        help="keeps lines that cannot be sent; the next run sends them first "
        "(default build/spool/SINK-STREAM)",
    )
    safety.add_argument(
        "--spool-limit", type=_count, default=1024, metavar="MIB", help="default %(default)s"
    )
    safety.add_argument("--drain-only", action="store_true", help="only send what the spool holds")
    safety.add_argument(
        "--skip-lines",
        type=int,
        default=0,
        metavar="N",
        help="leave out the first N lines: go on where a run stopped",
    )
    safety.add_argument(
        "--in-flight", type=_count, default=4, metavar="N", help="batches (default %(default)s)"
    )
    safety.add_argument(
        "--patience",
        type=_positive,
        default=120.0,
        metavar="S",
        help="seconds a batch is tried again before it is spooled (default %(default)s)",
    )
    arguments = parser.parse_args(argv)
    try:
        _complete(arguments)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def _complete(arguments: argparse.Namespace) -> None:
    """Check what belongs together and work the plan out."""
    is_stream = arguments.sink in APIS
    if is_stream and not arguments.stream:
        raise ValueError(f"--sink {arguments.sink} needs --stream NAME")
    if arguments.sink == "file" and not arguments.out:
        raise ValueError("--sink file needs --out PATH")
    if arguments.drain_only and not is_stream:
        raise ValueError("--drain-only needs --sink firehose or --sink kinesis")
    if arguments.in_flight > MAX_IN_FLIGHT:
        raise ValueError(f"--in-flight is at most {MAX_IN_FLIGHT}")
    if arguments.skip_lines < 0:
        raise ValueError("--skip-lines is not negative")
    if arguments.duration and not arguments.rate:
        raise ValueError("--duration needs --rate")
    if arguments.duration and arguments.events:
        raise ValueError("give --events or --duration, not both")
    arguments.spool = arguments.spool or Path("build/spool", f"{arguments.sink}-{arguments.stream}")

    rate, now = arguments.rate, datetime.now(UTC).replace(microsecond=0)
    arguments.is_live = bool(rate and not arguments.start and not arguments.end)
    events = arguments.events
    if rate and arguments.duration:
        events = max(1, round(rate * arguments.duration))
    arguments.not_before, arguments.is_finite = 0, True
    if arguments.is_live and not events:
        # People are on the site already when we begin to look.
        start, end = now - WARM_UP, now + ENDLESS
        arguments.not_before, arguments.is_finite = int(now.timestamp() * 1000), False
        events = round(rate * (end - start).total_seconds())
    elif arguments.is_live:
        start, end = now, now + timedelta(seconds=max(1.0, events / rate))
    else:
        end = arguments.end or (arguments.start + DAY if arguments.start else now)
        start = arguments.start or end - DAY
    if start >= end:
        raise ValueError(f"--end {end.isoformat()} is not after --start {start.isoformat()}")
    if (end - start) < timedelta(seconds=1):
        raise ValueError("the window is shorter than a second")

    given = {field.name: getattr(arguments, field.name) for field in fields(Rates)}
    rates = replace(
        DIRTY if arguments.dirty else Rates(),
        **{name: rate for name, rate in given.items() if rate is not None},
    )
    if sum(getattr(rates, field.name) for field in fields(Rates)) > 1:
        raise ValueError("the rates of dirt add up to more than 1")
    arguments.plan = Plan(
        start=int(start.timestamp() * 1000),
        end=int(end.timestamp() * 1000),
        events=events or DEFAULT_EVENTS,
        users=arguments.users,
        seed=arguments.seed,
        old_clients=arguments.old_clients,
        rates=rates,
        late_days=arguments.late_days,
        is_flat=arguments.is_live,
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an ISO 8601 date or time (2026-03-02, 2026-03-02T06:00:00Z)"
        ) from None
    if not 1971 <= moment.year <= 9998:
        raise argparse.ArgumentTypeError(f"{text!r} is not in the years 1971 to 9998")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _count(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def _positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < float("inf"), "a number above 0")


def _rate(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value <= 1, "a share from 0 to 1")


def _number(
    text: str, kind: Callable[[str], Any], is_right: Callable[[Any], bool], wanted: str
) -> Any:
    with contextlib.suppress(ValueError):
        if is_right(value := kind(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")


def _iso(at: int | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    sys.exit(main())
