"""One line of JSON text to one object, strictly: every field, every digit, no guess.

`json` alone takes NaN, keeps the last of two equal keys, rounds 19.990000000000001 and lets half
a surrogate pair through. See docs/adr/0006.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any, Final, TypeAlias

MAX_DEPTH: Final = 100
MAX_NUMBER_LENGTH: Final = 1000

# An object is the tuple of its pairs, so that equal keys stay; the rest is list, str, Number, bool
# and None.
Json: TypeAlias = Any
Object: TypeAlias = tuple[tuple[str, Json], ...]

BLANKS: Final = re.compile(r"[ \t\n\r]*+")
STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
STEP: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


class Rejected(Exception):
    """Why a line is no event.

    Args:
        reason: one of contract.REASONS.
        detail: the fields or the value at fault.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        """See the class."""
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Number(str):
    """A number, digit by digit as sent."""

    __slots__ = ()


def read_object(text: str) -> Object:
    """Reads the one object that `text` is.

    Raises:
        Rejected: as NOT_AN_OBJECT, CONCATENATED, NUMERIC, DEPTH, JSON_SYNTAX or UNICODE.
    """
    text = text.strip(" \t\n\r")
    # Brackets inside strings are no levels, but strings full of them are rare.
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise Rejected("DEPTH")
    try:
        value, end = DECODER.raw_decode(text)
        if end < len(text):
            raise Rejected(_reason_of_rest(text, value, end))
    except ValueError:
        raise Rejected("JSON_SYNTAX") from None
    if not isinstance(value, tuple):
        raise Rejected("NOT_AN_OBJECT")
    if "\\u" in text:
        try:
            to_json(value).encode()
        except UnicodeEncodeError:
            raise Rejected("UNICODE") from None
    return value


def to_text(value: Json) -> str | None:
    """A string as it is, anything else as its JSON text, null as None."""
    return value if value is None or isinstance(value, str) else to_json(value)


def to_json(value: Json) -> str:
    """JSON text without blanks, numbers as they were sent."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, tuple):
        return "{" + ",".join([f"{to_json(key)}:{to_json(item)}" for key, item in value]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([to_json(item) for item in value]) + "]"
    if isinstance(value, str):
        return encode_basestring(value)
    return json.dumps(value)


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in STRING_OR_BRACKET.findall(text):
        depth += STEP.get(token, 0)
        deepest = max(deepest, depth)
    return deepest


def _reason_of_rest(text: str, value: Json, end: int) -> str:
    """Why text follows a first value that ends at `end`: further objects, or junk."""
    objects_only = True
    while end < len(text):
        objects_only &= isinstance(value, tuple)
        value, end = DECODER.raw_decode(text, BLANKS.match(text, end).end())  # type: ignore[union-attr]
    return "CONCATENATED" if objects_only and isinstance(value, tuple) else "JSON_SYNTAX"


def _number(text: str) -> Number:
    if len(text) > MAX_NUMBER_LENGTH:
        raise Rejected("NUMERIC", f"a number of {len(text)} characters")
    return Number(text)


def _constant(name: str) -> Json:
    raise Rejected("NUMERIC", name)


class Decoder(json.JSONDecoder):
    """The strict decoder. Executors make it anew, since a scanner cannot be pickled."""

    def __init__(self) -> None:
        """See the class."""
        super().__init__(
            object_pairs_hook=tuple,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_constant,
        )

    def __reduce__(self) -> tuple[type[Decoder], tuple[()]]:
        """See the class."""
        return Decoder, ()


DECODER: Final = Decoder()
