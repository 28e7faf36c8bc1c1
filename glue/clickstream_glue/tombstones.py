"""Who was erased, as digests: enough to know a person's lines again, too little to name him.

A tombstone is an object `tombstones/<kind>/<digest>`; the digest is salted, so that a list of
possible ids says nothing to who cannot read `tombstones/salt`. See docs/adr/0013.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable
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
BARE_ID: Final = re.compile(rb'_id\\*"\s*:\s*([^\s",}\]\\]+)')
# A user_id that says something, also in JSON inside JSON.
LOGGED_IN: Final = re.compile(rb'user_id\\*"\s*:\s*(?!null\b|\\*"\s*\\*")[^\s,}\]]')
NO: Final = (0, 0)


class _Known(dict[bytes, tuple[int, int]]):
    """Whether an id is an erased user id, and an erased anonymous id, as 0 or 1; kept a while."""

    def __init__(self, salt: str, users: frozenset[str], anonymous: frozenset[str]) -> None:
        super().__init__()
        self._salt, self._users, self._anonymous = salt, users, anonymous

    def __missing__(self, id: bytes) -> tuple[int, int]:
        if len(self) == MOST_IDS:
            self.clear()
        self[id] = known = (
            int(bool(self._users) and digest(self._salt, USER, id) in self._users),
            int(bool(self._anonymous) and digest(self._salt, ANONYMOUS, id) in self._anonymous),
        )
        return known

    def __reduce__(self) -> tuple[type[_Known], tuple[str, frozenset[str], frozenset[str]]]:
        return _Known, (self._salt, self._users, self._anonymous)


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
        self._known = _Known(salt, self.users, self.anonymous)

    def __bool__(self) -> bool:
        """Whether anybody was erased."""
        return bool(self.users or self.anonymous)

    def is_user(self, id: str | None) -> bool:
        """Whether this is the user id of an erased person."""
        return id is not None and bool(self._known[id.encode(errors="surrogatepass")][0])

    def is_anonymous(self, id: str | None) -> bool:
        """Whether this is the anonymous id of an erased person."""
        return id is not None and bool(self._known[id.encode(errors="surrogatepass")][1])

    def cover(self, user_id: str | None, anonymous_id: str | None) -> bool:
        """Whether an event is an erased person's.

        Where somebody else is logged in, the event is that person's, whatever the browser.
        """
        return self.is_user(user_id) or (user_id is None and self.is_anonymous(anonymous_id))

    def count_in(self, content: bytes) -> tuple[int, int]:
        """How many values in bytes are erased user ids, and how many erased anonymous ids."""
        # Most values of most bytes are nobody's: only the others are worth a sum.
        known = [found for found in map(self._known.__getitem__, values(content)) if found != NO]
        return sum(user for user, _ in known), sum(anonymous for _, anonymous in known)

    def stand_in(self, content: bytes) -> bool:
        """Whether bytes that are no event are an erased person's, by the values they hold.

        As in an event, an anonymous id counts for nothing beside somebody else's user id.
        """
        users, anonymous = self.count_in(content)
        return bool(users or (anonymous and not LOGGED_IN.search(content)))

    def count_users(self, content: bytes) -> int:
        """How many values in bytes are the user id of an erased person."""
        return self.count_in(content)[0]


def digest(salt: str, kind: str, id: bytes) -> str:
    """What a tombstone is named after (SHA-256, hexadecimal)."""
    return hashlib.sha256(f"{salt}:{kind}:".encode() + id).hexdigest()


def values(content: bytes) -> list[bytes]:
    """Whatever may be a value in JSON, in CSV, or in a piece of either.

    All text between two neighbouring quotes is one: in torn or broken lines nobody knows which
    quote opens and which one closes; so are values of JSON inside JSON. Bytes without a quote are
    one value.
    """
    found = content.split(b'"') + BARE_ID.findall(content)
    if b"\\" in content:
        found += [part.rstrip(b"\\") for part in found if part.endswith(b"\\")]
        found += filter(None, map(_unescaped, STRING.findall(content)))
    return found


def _unescaped(text: bytes) -> bytes | None:
    """A JSON string's text without its escapes; None where it has none or is no JSON."""
    if b"\\" not in text:
        return None
    try:
        return json.loads(b'"' + text + b'"').encode(errors="surrogatepass")
    except ValueError:
        return None


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
