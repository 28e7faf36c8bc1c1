"""Glue: jobs and crawlers that really run, and the data catalog."""

from __future__ import annotations

from localaws.glue_catalog import GlueCatalog
from localaws.glue_crawlers import GlueCrawlers
from localaws.glue_jobs import GlueJobs


class Glue(GlueCatalog, GlueJobs, GlueCrawlers):
    """What has no method here (tags, triggers, schemas) falls through to MiniStack."""

    scope = "glue"
    falls_through = True
