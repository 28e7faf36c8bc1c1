"""Files and folders, on any Hadoop file system (S3 on AWS, the local disk in a test)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession

PARQUET_OPTIONS: Final = {
    "compression": "zstd",
    # A marker would be a file of the table without a column in it.
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def files_in(spark: SparkSession, root: str, folders: Iterable[str]) -> list[str]:
    """The data files in and below those `folders` of `root` that exist, as full paths."""
    found = []
    for folder in folders:
        path = _path(spark, root + folder)
        file_system = _file_system(spark, path)
        statuses = file_system.listFiles(path, True) if file_system.exists(path) else None
        while statuses and statuses.hasNext():
            file = statuses.next().getPath()
            # Spark, Athena and Hive take these names for hidden.
            if file.getName()[0] not in "._" and "/_temporary/" not in file.toString():
                found.append(file.toString())
    return sorted(found)


def delete_files(spark: SparkSession, files: Iterable[str]) -> None:
    """Deletes files; one that is already gone is fine."""
    for file in files:
        path = _path(spark, file)
        _file_system(spark, path).delete(path, False)


def read_table(spark: SparkSession, files: list[str], schema: str) -> DataFrame:
    """Reads exactly these Parquet files; no file is an empty table."""
    if not files:
        return spark.createDataFrame([], schema)
    return spark.read.schema(schema).parquet(*files)


def append(rows: DataFrame, table: str, partition: list[str]) -> None:
    """Adds files to a table; nothing that is there changes."""
    rows.write.options(**PARQUET_OPTIONS).partitionBy(*partition).mode("append").parquet(table)


def _path(spark: SparkSession, uri: str) -> Any:
    return spark._jvm.org.apache.hadoop.fs.Path(uri)  # type: ignore[union-attr]


def _file_system(spark: SparkSession, path: Any) -> Any:
    return path.getFileSystem(spark._jsc.hadoopConfiguration())
