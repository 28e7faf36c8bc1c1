"""The expressions in Firehose's prefixes, such as ``raw/!{timestamp:yyyy/MM/dd/HH}/``.

See https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

_EXPRESSION = re.compile(r"!\{([^:{}]*):((?:[^{}'](?:'[^']*')?|'[^']*')*)\}")
_DEFAULT_TIME = "!{timestamp:yyyy/MM/dd/HH}/"


def _number(value: Callable[[datetime], int]) -> Callable[[datetime, int], str]:
    return lambda time, width: str(value(time)).zfill(width)


def _named(
    value: Callable[[datetime], int], short: str, full: str
) -> Callable[[datetime, int], str]:
    def render(time: datetime, width: int) -> str:
        if width < 3:
            return str(value(time)).zfill(width)
        return time.strftime(short if width == 3 else full)

    return render


_LETTERS: dict[str, Callable[[datetime, int], str]] = {
    "y": lambda time, width: f"{time.year:04}"[-2:] if width == 2 else str(time.year).zfill(width),
    "M": _named(lambda time: time.month, "%b", "%B"),
    "d": _number(lambda time: time.day),
    "D": _number(lambda time: time.timetuple().tm_yday),
    "E": lambda time, width: time.strftime("%A" if width == 4 else "%a"),
    "a": lambda time, width: time.strftime("%p"),
    "H": _number(lambda time: time.hour),
    "k": _number(lambda time: time.hour or 24),
    "K": _number(lambda time: time.hour % 12),
    "h": _number(lambda time: time.hour % 12 or 12),
    "m": _number(lambda time: time.minute),
    "s": _number(lambda time: time.second),
    "S": lambda time, width: f"{time.microsecond:06}000"[:width].ljust(width, "0"),
}
_LETTERS["u"] = _LETTERS["y"]
_LETTERS["L"] = _LETTERS["M"]


def format_time(pattern: str, time: datetime) -> str:
    """Format as Java's DateTimeFormatter does.

    Raises:
        ValueError: for a letter that is not supported or a quotation that does not end.
    """

    def render(match: re.Match[str]) -> str:
        token = match[0]
        if token[0] == "'":
            if len(token) == 1:
                raise ValueError(f"a quotation in the pattern {pattern!r} does not end")
            return token[1:-1].replace("''", "'") or "'"
        if not token[0].isalpha():
            return token
        if token[0] not in _LETTERS:
            raise ValueError(f"the letter {token[0]!r} in the pattern {pattern!r} is not supported")
        return _LETTERS[token[0]](time, len(token))

    return re.sub(r"'(?:[^']|'')*'|'|([A-Za-z])\1*|[^A-Za-z']+", render, pattern)


def evaluate(prefix: str, time: datetime, random: str, error_type: str | None = None) -> str:
    """The prefix with its expressions evaluated.

    Args:
        prefix: Prefix or ErrorOutputPrefix.
        time: arrival of the object's oldest record, in the stream's time zone.
        random: stands for ``!{firehose:random-string}`` (11 characters of it).
        error_type: stands for ``!{firehose:error-output-type}``; None where it may not be used.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """

    def render(match: re.Match[str]) -> str:
        namespace, value = match.groups()
        if namespace == "timestamp":
            return format_time(value, time)
        if (namespace, value) == ("firehose", "random-string"):
            return random[:11]
        if (namespace, value) == ("firehose", "error-output-type") and error_type:
            return error_type
        raise ValueError(f"the expression {match[0]} cannot be used here")

    if "!{" in _EXPRESSION.sub("", prefix):
        raise ValueError(f"{prefix!r} has an expression that is not !{{namespace:value}}")
    return _EXPRESSION.sub(render, prefix)


def object_prefix(prefix: str) -> str:
    """`Prefix` with the default time folders when it names no time itself."""
    return prefix if "!{timestamp:" in prefix else prefix + _DEFAULT_TIME


def error_prefix(prefix: str, errors: str) -> str:
    """`ErrorOutputPrefix`, or what Firehose takes when it has no expression.

    Raises:
        ValueError: when `Prefix` has expressions and there is no ErrorOutputPrefix, or it does not
            say where the error's type goes.
    """
    if "!{" in prefix and not errors:
        raise ValueError(
            "ErrorOutputPrefix cannot be null or empty when Prefix contains expressions"
        )
    if "!{" not in errors:
        return (errors or prefix) + "!{firehose:error-output-type}/" + _DEFAULT_TIME
    if "!{firehose:error-output-type}" not in errors:
        raise ValueError(
            "ErrorOutputPrefix must contain !{firehose:error-output-type} when it has expressions"
        )
    return errors
