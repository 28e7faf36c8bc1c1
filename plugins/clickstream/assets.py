"""The data sets that DAGs announce to each other."""

from __future__ import annotations

from airflow.sdk import Asset

from clickstream.config import Config

_config = Config.from_environment()

#: fact_clicks in the lake: checked, and loaded into the warehouse as well.
FACT_CLICKS = Asset(
    name="fact_clicks",
    uri=f"s3://{_config.buckets.processed}/{_config.prefixes.lake}fact_clicks/",
    group="clickstream",
)
