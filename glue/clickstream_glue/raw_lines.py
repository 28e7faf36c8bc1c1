"""Raw objects to lines: each with its object, its true line number and its arrival hour."""

from __future__ import annotations

import re
import sys
import zlib
from typing import Final

from pyspark import cloudpickle
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
SCHEME_AND_BUCKET: Final = re.compile(r"^[a-z][a-z0-9+.-]*:(?://[^/]*)?")

Line = tuple[bytes, int, str | None, str | None]

# Executors need the functions of this file, not its package.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def read_lines(spark: SparkSession, root: str, paths: list[str]) -> DataFrame:
    """Reads the lines of all objects in `paths`; fails where one cannot be read to its end."""
    if "/year=" in root:
        raise ValueError(f"{root} must not contain /year=, which marks where arrival hours begin")
    for name, value in WHOLE_FILES.items():
        spark.conf.set(name, value)
    # "\n" alone ends a line: the default also splits on "\r".
    text = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true").text(paths)
    path = F.col("_metadata.file_path")
    encoded = F.substr(path, F.instr(path, "/year=") + 1)
    return text.select(
        "value",
        F.when(encoded.contains("%"), F.url_decode(F.replace(encoded, F.lit("+"), F.lit("%2B"))))
        .otherwise(encoded)
        .alias("source_object"),
        (F.monotonically_increasing_id().bitwiseAND(ROW_IN_PARTITION) + 1).alias("source_line"),
        F.lit(None).cast("string").alias("reason"),
        F.lit(None).cast("string").alias("detail"),
    ).transform(with_arrival, root)


def salvage_lines(spark: SparkSession, root: str, paths: list[str]) -> DataFrame:
    """The same lines read in Python: slower, but broken gzip yields what it still holds."""
    rows = spark.sparkContext.binaryFiles(",".join(paths)).flatMap(
        lambda item: [(line[0], _below_root(item[0]), *line[1:]) for line in split_lines(*item)]
    )
    schema = "value binary, source_object string, source_line bigint, reason string, detail string"
    lines = spark.createDataFrame(rows, schema)
    return lines.withColumn("value", F.col("value").cast("string")).transform(with_arrival, root)


def damaged_objects(spark: SparkSession, paths: list[str]) -> list[str]:
    """Those of the gzip objects `paths` that do not decompress to their end."""
    if not paths:
        return []
    objects = spark.sparkContext.binaryFiles(",".join(paths))
    return objects.filter(lambda item: inflate(item[1])[1] is not None).keys().collect()


def with_arrival(lines: DataFrame, root: str) -> DataFrame:
    """Completes source_object, so far the key below the root, and adds arrived_at from it."""
    part = [F.substring("source_object", first, length) for first, length in HOUR_DIGITS]
    hour = F.concat(part[0], F.lit("-"), part[1], F.lit("-"), part[2], F.lit(" "), part[3])
    return lines.withColumn(
        "arrived_at", F.concat(hour, F.lit(":00:00")).cast("timestamp")
    ).withColumn("source_object", F.concat(F.lit(root_key(root)), "source_object"))


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
