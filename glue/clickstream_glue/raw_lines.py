"""Raw objects to lines: each with its object, its true line number and its arrival hour."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from functools import reduce
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

# One file per partition: then a row's place in its partition is its line number.
WHOLE_FILES: Final = {
    "spark.sql.files.maxPartitionBytes": str(1 << 40),
    "spark.sql.files.openCostInBytes": str(1 << 40),
}
ROW_IN_PARTITION: Final = (1 << 33) - 1
# First character (from 1) and length of year, month, day and hour in the folder below the root.
HOUR_DIGITS: Final = ((6, 4), (17, 2), (24, 2), (32, 2))
HOUR_FOLDER: Final = re.compile(r"year=\d{4}/month=\d\d/day=\d\d/hour=\d\d/")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
SCHEME_AND_BUCKET: Final = re.compile(r"^[a-z][a-z0-9+.-]*:(?://[^/]*)?")

Line = tuple[bytes, int, str | None, str | None]


def read_lines(
    spark: SparkSession, root: str, paths: list[str], doubtful: Collection[str] = ()
) -> DataFrame:
    """The lines of the objects `paths`.

    Args:
        spark: the session.
        root: the folder in which the arrival hours lie.
        paths: full paths of objects below it.
        doubtful: those of `paths` whose gzip may be broken: they are read in Python, slower, and
            yield what they still hold. Where another cannot be read to its end, Spark fails.

    Returns:
        line binary (without line end and byte order mark), arrived_at, source_object,
        source_line, and reason and detail of what broken gzip damaged.
    """
    if "/year=" in root:
        raise ValueError(f"{root} must not contain /year=, which marks where arrival hours begin")
    sound = sorted({*paths} - {*doubtful})
    parts = [_read_text(spark, sound)] if sound else []
    parts += [_salvage(spark, sorted(doubtful))] if doubtful else []
    return with_place(reduce(DataFrame.unionByName, parts), root)


def _read_text(spark: SparkSession, paths: list[str]) -> DataFrame:
    for name, value in WHOLE_FILES.items():
        spark.conf.set(name, value)
    # "\n" alone ends a line: the default also splits on "\r".
    text = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true").text(paths)
    path = F.col("_metadata.file_path")
    encoded = F.substr(path, F.instr(path, "/year=") + 1)
    return text.select(
        F.col("value").cast("binary").alias("line"),
        F.when(encoded.contains("%"), F.url_decode(F.replace(encoded, F.lit("+"), F.lit("%2B"))))
        .otherwise(encoded)
        .alias("source_object"),
        (F.monotonically_increasing_id().bitwiseAND(ROW_IN_PARTITION) + 1).alias("source_line"),
        F.lit(None).cast("string").alias("reason"),
        F.lit(None).cast("string").alias("detail"),
    )


def _salvage(spark: SparkSession, paths: list[str]) -> DataFrame:
    rows = spark.sparkContext.binaryFiles(",".join(paths)).flatMap(
        lambda item: [(line[0], _below_root(item[0]), *line[1:]) for line in split_lines(*item)]
    )
    schema = "line binary, source_object string, source_line bigint, reason string, detail string"
    return spark.createDataFrame(rows, schema)


def damaged_objects(spark: SparkSession, paths: list[str]) -> list[str]:
    """Those of the gzip objects `paths` that do not decompress to their end."""
    if not paths:
        return []
    objects = spark.sparkContext.binaryFiles(",".join(paths))
    return objects.filter(lambda item: inflate(item[1])[1] is not None).keys().collect()


def with_place(lines: DataFrame, root: str) -> DataFrame:
    """Completes source_object, so far the key below the root, and adds arrived_at from it.

    A byte order mark before the line and a "\r" after it are no part of it.
    """
    part = [F.substring("source_object", first, length) for first, length in HOUR_DIGITS]
    hour = F.concat(part[0], F.lit("-"), part[1], F.lit("-"), part[2], F.lit(" "), part[3])
    first = F.when(F.startswith("line", F.lit(BYTE_ORDER_MARK)), 4).otherwise(1)
    last = F.octet_length("line") - F.endswith("line", F.lit(b"\r")).cast("int")
    return lines.withColumns(
        {
            "line": F.substr("line", first, last - first + 1),
            "arrived_at": F.concat(hour, F.lit(":00:00")).cast("timestamp"),
            "source_object": F.concat(F.lit(root_key(root)), "source_object"),
        }
    )


def root_key(root: str) -> str:
    """The part of a raw object's key that is the root's: its URI's path, bucket left out."""
    return SCHEME_AND_BUCKET.sub("", root).lstrip("/")


def object_path(root: str, key: str) -> str:
    """The full path of a raw object, from its key."""
    return root + key.removeprefix(root_key(root))


def split_lines(path: str, content: bytes) -> list[Line]:
    """Lines of one object, numbered from 1, with a reason where gzip broke off or is unsound."""
    text, reason, detail, unsound = content, None, None, b""
    if path.endswith(".gz"):
        text, reason, detail, unsound = inflate(content)
    *whole, last = text.split(b"\n")
    lines: list[Line] = [(line, number, None, None) for number, line in enumerate(whole, 1)]
    if reason == "GZIP_TRUNCATED":
        lines.append((last, len(lines) + 1, reason, detail))
    elif last:
        lines.append((last, len(lines) + 1, None, None))
    if reason == "GZIP_CORRUPT":
        lines.append((unsound, len(lines) + 1, reason, detail))
    return lines


def inflate(content: bytes) -> tuple[bytes, str | None, str | None, bytes]:
    """Decompresses all members: the text, the reason and detail of a damage, the unsound bytes.

    What comes before a cut is good. A member that breaks or fails its checksum is not: a flipped
    bit may have changed a price, so nothing of it is taken for text.
    """
    text, rest = b"", content
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            inflated = member.decompress(rest)
        except zlib.error as error:
            return text, "GZIP_CORRUPT", f"byte {len(content) - len(rest)}: {error}", rest
        text += inflated
        if not member.eof:
            return text, "GZIP_TRUNCATED", f"the object ends at byte {len(content)}", b""
        rest = member.unused_data
    return text, None, None, b""


def _below_root(path: str) -> str:
    """The part of an object's path that starts with its arrival hour."""
    hour = HOUR_FOLDER.search(path)
    if hour is None:
        raise ValueError(f"{path} lies in no folder year=YYYY/month=MM/day=DD/hour=HH/")
    return path[hour.start() :]
