"""Who was erased, as digests: enough to know a person's lines again, too little to name him.

A tombstone is an object `tombstones/<kind>/<digest>`; the digest is salted, so that a list of
possible ids says nothing to who cannot read `tombstones/salt`. See docs/adr/0013.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

USER: Final = "user"
ANONYMOUS: Final = "anonymous"
KINDS: Final = (USER, ANONYMOUS)
SALT: Final = "salt"
#: What stands in raw where a line of an erased person stood, so that other lines keep their number.
ERASED_LINE: Final = b'{"erased":true}'

MOST_IDS: Final = 100_000
STRING: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
# An id that was sent as a number stands between no quotes.
BARE_ID: Final = re.compile(rb'(?:user|anonymous)_id\\*"\s*:\s*([^\s",}\]\\]+)')


class _Known(dict[bytes, bool]):
    """Whether an id is an erased one; kept, since few ids stand in many lines."""

    def __init__(self, salt: str, kind: str, digests: frozenset[str]) -> None:
        super().__init__()
        self._arguments = salt, kind, digests

    def __missing__(self, id: bytes) -> bool:
        salt, kind, digests = self._arguments
        if len(self) == MOST_IDS:
            self.clear()
        self[id] = is_known = bool(digests) and digest(salt, kind, id) in digests
        return is_known

    def __reduce__(self) -> tuple[type[_Known], tuple[str, str, frozenset[str]]]:
        return _Known, self._arguments


class Tombstones:
    """The digests of erased ids, and what they say of an event or of bytes.

    Args:
        salt: the lake's; not needed where nobody was erased.
        users: digests of user ids.
        anonymous: digests of anonymous ids.
    """

    def __init__(
        self, salt: str = "", users: Iterable[str] = (), anonymous: Iterable[str] = ()
    ) -> None:
        """See the class."""
        self.salt, self.users, self.anonymous = salt, frozenset(users), frozenset(anonymous)
        self._users = _Known(salt, USER, self.users)
        self._anonymous = _Known(salt, ANONYMOUS, self.anonymous)

    def __bool__(self) -> bool:
        """Whether anybody was erased."""
        return bool(self.users or self.anonymous)

    def is_user(self, id: str | None) -> bool:
        """Whether this is the user id of an erased person."""
        return id is not None and self._users[id.encode(errors="surrogatepass")]

    def is_anonymous(self, id: str | None) -> bool:
        """Whether this is the anonymous id of an erased person."""
        return id is not None and self._anonymous[id.encode(errors="surrogatepass")]

    def cover(self, user_id: str | None, anonymous_id: str | None) -> bool:
        """Whether an event is an erased person's.

        Where somebody else is logged in, the event is that person's, whatever the browser.
        """
        return self.is_user(user_id) or (user_id is None and self.is_anonymous(anonymous_id))

    def stand_in(self, content: bytes) -> bool:
        """Whether bytes that are no event hold an erased id, of either kind, as a value."""
        return any(self._users[id] or self._anonymous[id] for id in values(content))

    def count_users(self, content: bytes) -> int:
        """How many values in bytes are the user id of an erased person."""
        return sum(self._users[id] for id in values(content))


def digest(salt: str, kind: str, id: bytes) -> str:
    """What a tombstone is named after (SHA-256, hexadecimal)."""
    return hashlib.sha256(f"{salt}:{kind}:".encode() + id).hexdigest()


def values(content: bytes) -> Iterator[bytes]:
    """Whatever may be a value in JSON, in CSV, or in a piece of either.

    All text between two neighbouring quotes is one: in torn or broken lines nobody knows which
    quote opens and which one closes; so are values of JSON inside JSON. Bytes without a quote are
    one value.
    """
    for part in content.split(b'"'):
        yield part.rstrip(b"\\")
    for found in BARE_ID.finditer(content):
        yield found[1]
    if b"\\" in content:
        for found in STRING.finditer(content):
            if b"\\" in found[1]:
                try:
                    yield json.loads(found[0]).encode(errors="surrogatepass")
                except ValueError:
                    continue


def salvage(unsound: bytes) -> bytes:
    """What can still be read of a gzip member that is broken, or of bytes that are none."""
    member, text = zlib.decompressobj(wbits=31), [unsound]
    # Byte by byte: the call that fails gives nothing of what it has read.
    for start in range(len(unsound)):
        try:
            text.append(member.decompress(unsound[start : start + 1]))
        except zlib.error:
            break
    return b"".join(text)
