"""Files and folders, on any Hadoop file system (S3 on AWS, the local disk in a test)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession

SPARK_SETTINGS: Final = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Cached rows are read once or twice: to compress their columns costs more than it saves.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # The files are listed by name: to look them up in a Spark job costs more than it saves.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "1000",
}
PARQUET_OPTIONS: Final = {
    "compression": "zstd",
    # A marker would be a file of the table without a column in it.
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def files_in(spark: SparkSession, root: str, folders: Iterable[str]) -> list[str]:
    """The data files in and below those `folders` of `root` that exist, as full paths."""
    return sorted(file for folder in folders for file in sizes_in(spark, root + folder))


def sizes_in(spark: SparkSession, folder: str) -> dict[str, int]:
    """The data files in and below a folder, as full paths, and the bytes of each."""
    found = {}
    path = _path(spark, folder)
    file_system = _file_system(spark, path)
    statuses = file_system.listFiles(path, True) if file_system.exists(path) else None
    while statuses and statuses.hasNext():
        status = statuses.next()
        file = status.getPath()
        below = file.toUri().getPath()[len(path.toUri().getPath()) :].strip("/")
        # Spark, Athena and Hive take these names for hidden.
        if not any(part[0] in "._" for part in below.split("/")):
            found[file.toString()] = status.getLen()
    return found


def folders_in(spark: SparkSession, root: str) -> list[str]:
    """The names of the folders of `root` that are not hidden."""
    path = _path(spark, root + "*")
    statuses = _file_system(spark, path).globStatus(path) or ()
    names = (status.getPath().getName() for status in statuses if status.isDirectory())
    return sorted(name for name in names if name[0] not in "._")


def partitions_in(spark: SparkSession, root: str, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The values of the folders ``name=value`` of `root`, as deep as there are `names`."""
    path = _path(spark, root + "/".join(f"{name}=*" for name in names))
    statuses = _file_system(spark, path).globStatus(path)
    found = [status.getPath().toString().split("/")[-len(names) :] for status in statuses or ()]
    return [tuple(part.partition("=")[2] for part in parts) for parts in found]


def read_text(spark: SparkSession, file: str) -> str:
    """The text of a small file."""
    return spark.read.option("wholetext", "true").text(file).collect()[0][0]


def write_text(spark: SparkSession, file: str, text: str) -> None:
    """Writes a small file."""
    path = _path(spark, file)
    stream = _file_system(spark, path).create(path, True)
    stream.write(bytearray(text.encode()))
    stream.close()


def delete_files(spark: SparkSession, files: Iterable[str]) -> None:
    """Deletes files; one that is already gone is fine."""
    for file in files:
        path = _path(spark, file)
        _file_system(spark, path).delete(path, False)


def delete_folder(spark: SparkSession, folder: str) -> None:
    """Deletes a folder with all that is in it; one that is not there is fine."""
    path = _path(spark, folder)
    _file_system(spark, path).delete(path, True)


def rename(spark: SparkSession, source: str, target: str) -> None:
    """Moves a file within its bucket; on S3 that is a copy, and then a delete of the source."""
    path = _path(spark, target)
    if not _file_system(spark, path).rename(_path(spark, source), path):
        raise OSError(f"{source} could not be moved to {target}")


def read_table(
    spark: SparkSession, files: list[str], schema: str, root: str | None = None
) -> DataFrame:
    """Reads exactly these Parquet files; no file is an empty table.

    With `root`, the table's folder, columns may be those that the folders' names hold.
    """
    if not files:
        return spark.createDataFrame([], schema)
    reader = spark.read.schema(schema)
    return (reader.option("basePath", root) if root else reader).parquet(*files)


def append(rows: DataFrame, table: str, partition: list[str]) -> None:
    """Adds files to a table; nothing that is there changes."""
    rows.write.options(**PARQUET_OPTIONS).partitionBy(*partition).mode("append").parquet(table)


def _path(spark: SparkSession, uri: str) -> Any:
    return spark._jvm.org.apache.hadoop.fs.Path(uri)  # type: ignore[union-attr]


def _file_system(spark: SparkSession, path: Any) -> Any:
    return path.getFileSystem(spark._jsc.hadoopConfiguration())
