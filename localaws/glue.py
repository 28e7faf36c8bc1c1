"""Glue: jobs and crawlers that really run; the data catalog is MiniStack's."""

from __future__ import annotations

from localaws.glue_crawlers import GlueCrawlers
from localaws.glue_jobs import GlueJobs


class Glue(GlueJobs, GlueCrawlers):
    """Actions on databases, tables, partitions and tags fall through to MiniStack."""

    scope = "glue"
    falls_through = True
