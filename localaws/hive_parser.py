"""The words of a Hive statement, read from the left."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from localaws import hive_types

_TOKEN = re.compile(
    r"""\s+ | --[^\n]* | /\*.*?\*/ | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*")
    | (?P<quoted>`[^`]*`) | (?P<word>[\w$]+) | (?P<sign>[<>=!]+|.)""",
    re.VERBOSE | re.DOTALL,
)


class DdlError(Exception):
    """A statement that fails; the text is Athena's reason."""


class Cursor:
    """The tokens of one statement, read from the left."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = [
            (match.lastgroup, match[0], match.start())
            for match in _TOKEN.finditer(sql)
            if match.lastgroup
        ]
        self.at = 0

    @property
    def text(self) -> str:
        """The next token, in upper case; empty at the end."""
        return self.tokens[self.at][1].upper() if self.at < len(self.tokens) else ""

    def accept(self, *words: str) -> bool:
        """Whether the next tokens are `words`; steps over them when they are."""
        found = [token[1].upper() for token in self.tokens[self.at : self.at + len(words)]]
        if found == list(words):
            self.at += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        """Step over `words`, which must come next."""
        for word in words:
            if not self.accept(word):
                raise self.error(f"'{word}'")

    def error(self, wanted: str) -> DdlError:
        """What is wrong at this place."""
        here = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.sql)
        line = self.sql.count("\n", 0, here) + 1
        column = here - (self.sql.rfind("\n", 0, here) + 1)
        token = self.tokens[self.at][1] if self.at < len(self.tokens) else "<EOF>"
        return DdlError(
            f"FAILED: ParseException line {line}:{column} mismatched input '{token}' "
            f"expecting {wanted}"
        )

    def _next(self, kinds: tuple[str, ...], wanted: str) -> str:
        if self.at == len(self.tokens) or self.tokens[self.at][0] not in kinds:
            raise self.error(wanted)
        self.at += 1
        return self.tokens[self.at - 1][1]

    def name(self) -> str:
        """An identifier, in lower case as the catalog keeps it."""
        return self._next(("word", "quoted"), "an identifier").strip("`").lower()

    def string(self) -> str:
        """A text in quotes."""
        text = self._next(("string",), "a text in quotes")
        return re.sub(r"\\(.)|''", lambda m: m[1] or "'", text[1:-1])

    def value(self) -> str:
        """A text or a number, as a partition's value."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "string":
            return self.string()
        return self._next(("word",), "a value")

    def type(self) -> str:
        """A column's type, as the catalog writes it."""
        text, depth = "", 0
        while self.at < len(self.tokens):
            token = self.tokens[self.at][1]
            depth += token.count("<") + token.count("(") - token.count(">") - token.count(")")
            if depth < 0 or (depth == 0 and text and token not in (">", ">>", ">>>", ")", "(")):
                break
            text += token
            self.at += 1
            if depth == 0 and self.text not in ("(", "<"):
                break
        try:
            return str(hive_types.parse(text))
        except hive_types.HiveTypeError as error:
            raise DdlError(f"FAILED: ParseException: {error}") from None

    def end(self) -> None:
        """The statement must end here."""
        if self.at < len(self.tokens):
            raise self.error("the end of the statement")

    def listed(self, item: Callable[[], Any]) -> list[Any]:
        """``( item, item … )``."""
        self.expect("(")
        items = [item()]
        while self.accept(","):
            items.append(item())
        self.expect(")")
        return items
