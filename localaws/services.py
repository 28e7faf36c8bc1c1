"""The services this package computes itself."""

from __future__ import annotations

from localaws.athena import Athena
from localaws.event_sources import EventSources
from localaws.event_targets import EventTargets
from localaws.firehose import Firehose
from localaws.glue import Glue
from localaws.redshift_data import RedshiftData
from localaws.redshift_serverless import RedshiftServerless
from localaws.service import Context, Service


def all_services(context: Context) -> list[Service]:
    """One instance of each, in the order they start."""
    return [
        service(context)
        for service in (
            Athena,
            EventSources,
            EventTargets,
            Firehose,
            Glue,
            RedshiftServerless,
            RedshiftData,
        )
    ]
