"""What an erasure finds in one object, and what it leaves of it.

Two questions are asked of every object. *What is the person's?* The lines and rows that the clean
job would erase: these go, and nothing else, since nobody brings back what went by mistake. *Where
does the id stand?* Any value that equals the user id: after an erasure there must be none.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from clickstream_contract.contract import EVENT_COLUMNS
from clickstream_contract.event import EPOCH, MICROSECOND
from clickstream_contract.json_lines import Rejected, read_object, to_json, to_text

from clickstream_glue.events import ERASED, to_columns
from clickstream_glue.raw_lines import BYTE_ORDER_MARK, HOUR_FOLDER, inflate, split_lines
from clickstream_glue.tombstones import ERASED_LINE, Tombstones, salvage, values

PARQUET: Final = b"PAR1"
GZIP: Final = b"\x1f\x8b"
#: Beside each result Athena keeps its columns' names and types, in a format of its own.
ATHENA_METADATA: Final = ".metadata"
#: Columns that say whose a row is. A key or a person may be either kind of id.
KEYS: Final = ("user_key", "person_key")
#: Fields that may hold the same text and mean something else: product 17 is not user 17.
OTHER_NAMES: Final = frozenset({"product_id", "order_id", "price", "quantity"})
#: Firehose writes what it could not deliver in base64.
RAW_DATA: Final = re.compile(rb'"rawData"\s*:\s*"([A-Za-z0-9+/=]*)"')
WORD: Final = re.compile(rb"""[^\s"',;:<>(){}\[\]=&?/\\]+""")
REASON: Final = len(EVENT_COLUMNS)


@dataclass(frozen=True)
class Found:
    """What one object holds of a person.

    Attributes:
        count: lines, rows or (elsewhere) values that an erasure takes away.
        values: values that equal the user id, in these and elsewhere.
        days: UTC days on which the lines or rows arrived.
    """

    count: int
    values: int
    days: frozenset[str] = frozenset()


def find_in_lines(key: str, content: bytes, erased: Tombstones) -> Found:
    """What a raw object holds."""
    count, value_count = 0, 0
    for line, _, reason, is_his in _judged_lines(key, content, erased):
        count += is_his
        value_count += _count_values(_line_bytes(line, reason), erased)
    days = [f"{arrival_hour(key):%Y-%m-%d}"] if count else []
    return Found(count, value_count, frozenset(days))


def arrival_hour(key: str) -> datetime:
    """The hour that a raw object's key names.

    Raises:
        ValueError: it names none.
    """
    folder = HOUR_FOLDER.search(key)
    if folder is None:
        raise ValueError(f"{key} lies in no folder year=YYYY/month=MM/day=DD/hour=HH/")
    year, month, day, hour = map(int, re.findall(r"\d+", folder[0]))
    return datetime(year, month, day, hour, tzinfo=UTC)


def erased_lines(key: str, content: bytes, erased: Tombstones) -> list[int]:
    """The numbers (from 1) of the lines that are the person's; a replaced line is nobody's."""
    judged = _judged_lines(key, content, erased)
    return [number for _, number, _, is_his in judged if is_his]


def _judged_lines(
    key: str, content: bytes, erased: Tombstones
) -> Iterator[tuple[bytes, int, str | None, bool]]:
    """The lines that may name the person, and whether they are the person's: few of many."""
    arrived_at = (arrival_hour(key) - EPOCH) // MICROSECOND
    for line, number, reason, _ in split_lines(key, content):
        # Escapes may hide more than a search for values sees; such lines are read as events.
        if b"\\" in line or any(erased.count_in(_line_bytes(line, reason))):
            yield line, number, reason, _is_erased(line, reason, arrived_at, erased)


def replace_lines(key: str, content: bytes, numbers: Iterable[int]) -> bytes:
    """The object with a fixed line in place of these; every other byte of its text stays.

    Broken gzip stays as broken: a line that was torn must not look whole.
    """
    if not key.endswith(".gz"):
        return b"\n".join(_replaced(content.split(b"\n"), numbers))
    text, reason, _, unsound = inflate(content)
    lines = text.split(b"\n")
    if reason == "GZIP_CORRUPT":
        if len(lines) + bool(lines[-1]) in numbers:
            # The unsound bytes are the line after the last.
            lines, unsound = [*(lines if lines[-1] else lines[:-1]), ERASED_LINE], b""
        return gzip.compress(b"\n".join(_replaced(lines, numbers)), mtime=0) + unsound
    text = b"\n".join(_replaced(lines, numbers))
    if reason == "GZIP_TRUNCATED" and len(lines) not in numbers:
        torn = zlib.compressobj(wbits=31)
        return torn.compress(text) + torn.flush(zlib.Z_SYNC_FLUSH)
    return gzip.compress(text, mtime=0)


def find_in_delivery_errors(content: bytes, erased: Tombstones) -> Found:
    """What an object of records holds that Firehose could not deliver."""
    lines = [_with_raw_data(line) for line in content.split(b"\n")]
    count = sum(erased.stand_in(line) for line in lines)
    return Found(count, sum(map(erased.count_users, lines)))


def replace_delivery_errors(content: bytes, erased: Tombstones) -> bytes:
    """The object with a fixed line in place of the person's records."""
    lines = content.split(b"\n")
    his = [n for n, line in enumerate(lines, 1) if erased.stand_in(_with_raw_data(line))]
    return b"\n".join(_replaced(lines, his))


def find_in_parquet(content: bytes, erased: Tombstones) -> Found:
    """What a Parquet object holds, of whatever table."""
    count, value_count, days = 0, 0, set[str]()
    for rows in _row_groups(content):
        his = rows.filter(erased_rows(rows, erased))
        count += his.num_rows
        value_count += sum(
            _count_in_column(column, erased)
            for name, column in zip(rows.column_names, rows.columns, strict=True)
            if name not in OTHER_NAMES
        )
        if his.num_rows and "arrived_at" in rows.column_names:
            days |= set(map(str, pc.cast(his["arrived_at"], pa.date32()).to_pylist()))
    return Found(count, value_count, frozenset(days))


def days_without_object(content: bytes, keys: Collection[str]) -> set[str]:
    """The UTC days on which rows arrived whose raw object is not among `keys`."""
    columns = ["source_object", "arrived_at"]
    if content[:4] != PARQUET or not set(columns) <= set(pq.read_schema(BytesIO(content)).names):
        return set()
    rows = pq.read_table(BytesIO(content), columns=columns)
    gone = [key for key in pc.unique(rows["source_object"]).to_pylist() if key not in keys]
    is_gone = pc.is_in(rows["source_object"], pa.array(gone, rows["source_object"].type))
    days = pc.cast(rows["arrived_at"].filter(is_gone), pa.date32())
    return set(map(str, pc.unique(days).to_pylist()))


def drop_rows(content: bytes, erased: Tombstones) -> bytes:
    """The Parquet object without the person's rows, also where none is left."""
    out = BytesIO()
    with pq.ParquetWriter(out, pq.read_schema(BytesIO(content)), compression="zstd") as writer:
        for rows in _row_groups(content):
            writer.write_table(rows.filter(pc.invert(erased_rows(rows, erased))))
    return out.getvalue()


def erased_rows(rows: pa.Table, erased: Tombstones) -> pa.ChunkedArray:
    """For each row whether it is the person's: by its ids, or by the raw bytes it keeps."""
    columns = set(rows.column_names)
    nowhere = pa.chunked_array([pa.array([False] * rows.num_rows, pa.bool_())])

    def named(names: Iterable[str], is_his: Callable[[str | None], bool]) -> pa.ChunkedArray:
        found = nowhere
        for name in names:
            if name in columns:
                ids = [id for id in pc.unique(rows[name]).to_pylist() if is_his(id)]
                found = pc.or_(found, pc.is_in(rows[name], pa.array(ids, rows[name].type)))
        return found

    his = named(("user_id", *KEYS), erased.is_user)
    alone = named(("anonymous_id", *KEYS), erased.is_anonymous)
    if "user_id" in columns:
        alone = pc.and_(alone, pc.is_null(rows["user_id"]))
    his = pc.or_(his, alone)
    if "raw_bytes" in columns:
        lines, reasons = rows["raw_bytes"].to_pylist(), rows["reason"].to_pylist()
        hours = pc.cast(pc.cast(rows["arrived_at"], pa.timestamp("us", "UTC")), pa.int64())
        kept = [
            _is_erased(line, reason, hour, erased)
            for line, reason, hour in zip(lines, reasons, hours.to_pylist(), strict=True)
        ]
        his = pc.or_(his, pa.chunked_array([pa.array(kept, pa.bool_())]))
    return his


def find_in_text(content: bytes, erased: Tombstones) -> Found:
    """What any other object holds: a query's result, a report, a script."""
    if content[:2] == GZIP:
        text, _, _, unsound = inflate(content)
        content = text + salvage(unsound)
    # Every word, and what stands between quotes where it is more than one.
    words = WORD.findall(content) + [v for v in values(content) if not WORD.fullmatch(v)]
    count = sum(map(erased.stand_in, words))
    return Found(count, sum(map(erased.count_users, words)))


def find_in_result(key: str, content: bytes, erased: Tombstones) -> Found:
    """What an object of a query's results holds: it goes whole, or stays.

    It goes too if it cannot be read (ORC, another compression than gzip): nobody could prove that
    the person is not in it, and it can be asked again.
    """
    if content[:4] == PARQUET:
        found = find_in_parquet(content, erased)
        return Found(max(found.count, found.values), found.values)
    found = find_in_text(content, erased)
    if not found.count and not key.endswith(ATHENA_METADATA) and not _is_text(content):
        return Found(1, 0)
    return found


def _is_text(content: bytes) -> bool:
    text = inflate(content)[0] if content[:2] == GZIP else content
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def anonymous_ids(key: str, content: bytes, erased: Tombstones) -> set[bytes]:
    """The anonymous ids that stand beside the user id in one event, accepted or not."""
    pairs: Iterable[tuple[str | None, str | None]]
    if content[:4] == PARQUET:
        pairs = _id_columns(content)
    else:
        pairs = (
            _ids(line)
            for line, *_ in split_lines(key, content)
            if b"\\" in line or erased.count_users(line)
        )
    return {other.encode() for user, other in pairs if other and erased.is_user(user)}


def shared_ids(content: bytes, erased: Tombstones) -> set[bytes]:
    """The erased person's anonymous ids that stand beside somebody else's user id in Parquet."""
    return {
        other.encode()
        for user, other in _id_columns(content)
        if user and not erased.is_user(user) and other and erased.is_anonymous(other)
    }


def _id_columns(content: bytes) -> Iterable[tuple[str | None, str | None]]:
    columns = ["user_id", "anonymous_id"]
    if content[:4] != PARQUET or not set(columns) <= set(pq.read_schema(BytesIO(content)).names):
        return ()
    rows = pq.read_table(BytesIO(content), columns=columns)
    return zip(*(rows[name].to_pylist() for name in columns), strict=True)


def _is_erased(line: bytes, reason: str | None, arrived_at: int, erased: Tombstones) -> bool:
    line = line.removeprefix(BYTE_ORDER_MARK).removesuffix(b"\r")
    damage = reason if reason and reason.startswith("GZIP") else None
    if line == ERASED_LINE:
        return False
    return to_columns(line, damage, None, arrived_at, erased=erased)[REASON] == ERASED


def _ids(line: bytes) -> tuple[str | None, str | None]:
    try:
        fields = dict(read_object(line.removeprefix(BYTE_ORDER_MARK).decode()))
    except (Rejected, UnicodeDecodeError):
        return None, None
    return to_text(fields.get("user_id")), to_text(fields.get("anonymous_id"))


def _line_bytes(line: bytes, reason: str | None) -> bytes:
    return salvage(line) if reason == "GZIP_CORRUPT" else line


def _with_raw_data(line: bytes) -> bytes:
    parts = [line]
    for found in RAW_DATA.finditer(line):
        try:
            parts.append(base64.b64decode(found[1]))
        except binascii.Error:
            continue
    return b'"'.join(parts)


def _replaced(lines: list[bytes], numbers: Iterable[int]) -> list[bytes]:
    numbers = frozenset(numbers)
    return [ERASED_LINE if n in numbers else line for n, line in enumerate(lines, 1)]


def _count_values(line: bytes, erased: Tombstones) -> int:
    """Values of a line that equal the user id, those of fields that name another thing left out."""
    count = erased.count_users(line)
    if not count:
        return 0
    try:
        fields = read_object(line.decode())
    except (Rejected, UnicodeDecodeError):
        return count
    kept = tuple(field for field in fields if field[0] not in OTHER_NAMES)
    return erased.count_users(to_json(kept).encode())


def _row_groups(content: bytes) -> Iterator[pa.Table]:
    file = pq.ParquetFile(BytesIO(content))
    for number in range(file.num_row_groups):
        yield file.read_row_group(number)


def _count_in_column(column: pa.ChunkedArray, erased: Tombstones) -> int:
    """Values equal to the user id in a column of text or bytes, also inside lists and maps."""
    return sum(_count_in_array(chunk, erased) for chunk in column.chunks)


def _count_in_array(array: pa.Array, erased: Tombstones) -> int:
    kind = array.type
    if pa.types.is_map(kind):
        return _count_in_array(array.keys, erased) + _count_in_array(array.items, erased)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _count_in_array(array.flatten(), erased)
    if pa.types.is_struct(kind):
        return sum(_count_in_array(field, erased) for field in array.flatten())
    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind)):
        return 0
    counts = pc.value_counts(array).to_pylist()
    return sum(
        erased.count_users(_to_bytes(item["values"])) * item["counts"]
        for item in counts
        if item["values"] is not None
    )


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
