"""Glue's API of crawlers."""

from __future__ import annotations

import logging
import statistics
import threading
import uuid
from typing import Any

import orjson

from localaws.glue_crawl import Cancelled, Crawl, CrawlError
from localaws.glue_tags import GlueTags
from localaws.logs import LogStream, encrypt_logs
from localaws.service import AwsError, Context, Request, Response, now, page
from localaws.trail import acting_as

log = logging.getLogger("localaws")

_LOG_GROUP = "/aws-glue/crawlers"
_TARGETS = ("S3Targets", "CatalogTargets")
_INTERRUPTED = "The embedded AWS ended during the crawl; start the crawler again"


class GlueCrawlers(GlueTags):
    """Crawlers are kept as GetCrawler answers them, crawls as ListCrawls does."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._crawlers = context.state.table("glue_crawlers")
        self._crawls = context.state.table("glue_crawls")
        self._crawler_lock = threading.RLock()
        self._stopping = False

    def start(self) -> None:
        """Fail the crawls that the end of the embedded AWS cut off."""
        super().start()
        for crawl in self._crawls.values():
            if crawl["State"] == "RUNNING":
                self._finish(crawl, "FAILED", _INTERRUPTED)

    def stop(self) -> None:
        """Let live crawls end at their next folder."""
        self._stopping = True
        super().stop()

    def CreateCrawler(self, request: Request) -> Response:
        """A crawler with AWS's defaults."""
        name = request["Name"]
        time = now().timestamp()
        crawler = {
            "Name": name,
            "Classifiers": [],
            "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_EVERYTHING"},
            "LineageConfiguration": {"CrawlerLineageSettings": "DISABLE"},
            "LakeFormationConfiguration": {"UseLakeFormationCredentials": False, "AccountId": ""},
            "State": "READY",
            "CrawlElapsedTime": 0,
            "CreationTime": time,
            "LastUpdated": time,
            "Version": 1,
        } | _settings(request)
        with self._crawler_lock:
            if name in self._crawlers:
                raise AwsError("AlreadyExistsException", f"Crawler {name} already exists")
            self._crawlers[name] = crawler
        self._tag(f"crawler/{name}", request.get("Tags"))
        return {}

    def UpdateCrawler(self, request: Request) -> Response:
        """Replaces the members given."""
        with self._crawler_lock:
            crawler = self._idle(request["Name"])
            changes = {"LastUpdated": now().timestamp(), "Version": crawler["Version"] + 1}
            self._crawlers[crawler["Name"]] = crawler | _settings(crawler | request) | changes
        return {}

    def DeleteCrawler(self, request: Request) -> Response:
        """Its crawls go with it."""
        name = request["Name"]
        with self._crawler_lock:
            self._idle(name)
            self._crawlers.pop(name)
            for crawl in self._crawls_of(name):
                self._crawls.pop(crawl["CrawlId"])
        self._untag(f"crawler/{name}")
        return {}

    def GetCrawler(self, request: Request) -> Response:
        """One crawler."""
        return {"Crawler": self._answer(self._crawler(request["Name"]))}

    def GetCrawlers(self, request: Request) -> Response:
        """All crawlers, paged."""
        crawlers, rest = page(self._crawlers.values(), request, limit=1000)
        return {"Crawlers": [self._answer(crawler) for crawler in crawlers], **rest}

    def ListCrawlers(self, request: Request) -> Response:
        """Names of the crawlers that carry the tags, paged."""
        names = self._tagged("crawler", self._crawlers, request.get("Tags"))
        names, rest = page(names, request, limit=1000)
        return {"CrawlerNames": names, **rest}

    def BatchGetCrawlers(self, request: Request) -> Response:
        """Several crawlers by name."""
        found = {name: self._crawlers.get(name) for name in request["CrawlerNames"]}
        return {
            "Crawlers": [self._answer(crawler) for crawler in found.values() if crawler],
            "CrawlersNotFound": [name for name, crawler in found.items() if not crawler],
        }

    def StartCrawler(self, request: Request) -> Response:
        """Crawl now."""
        with self._crawler_lock:
            crawler = self._idle(request["Name"]) | {"State": "RUNNING"}
            self._crawlers[crawler["Name"]] = crawler
            crawl_id = str(uuid.uuid4())
            self._crawls[crawl_id] = crawl = {
                "CrawlId": crawl_id,
                "CrawlerName": crawler["Name"],
                "State": "RUNNING",
                "StartTime": now().timestamp(),
                "LogGroup": _log_group(crawler),
                "LogStream": crawler["Name"],
                "MessagePrefix": crawl_id,
            }
        threading.Thread(
            target=self._main, args=(crawler, crawl), name=f"crawl-{crawler['Name']}", daemon=True
        ).start()
        return {}

    def StopCrawler(self, request: Request) -> Response:
        """The crawl ends at its next folder."""
        with self._crawler_lock:
            crawler = self._crawler(request["Name"])
            name = crawler["Name"]
            if crawler["State"] == "READY":
                raise AwsError("CrawlerNotRunningException", f"Crawler {name} is not running")
            if crawler["State"] == "STOPPING":
                raise AwsError("CrawlerStoppingException", f"Crawler {name} is stopping already")
            self._crawlers[name] = crawler | {"State": "STOPPING"}
        return {}

    def GetCrawlerMetrics(self, request: Request) -> Response:
        """Durations, and the tables of the last crawl, paged."""
        names = request.get("CrawlerNameList") or self._crawlers.keys()
        names, rest = page(names, request, limit=1000)
        return {"CrawlerMetricsList": [self._metrics(name) for name in names], **rest}

    def ListCrawls(self, request: Request) -> Response:
        """A crawler's crawls, the newest first, paged."""
        name = self._crawler(request["CrawlerName"])["Name"]
        if request.get("Filters"):
            raise AwsError("InvalidInputException", "ListCrawls takes no Filters here")
        crawls, rest = page(self._crawls_of(name)[::-1], request, limit=20)
        hidden = ("CrawlerName", "Tables")
        return {
            "Crawls": [{k: v for k, v in crawl.items() if k not in hidden} for crawl in crawls],
            **rest,
        }

    def _crawler(self, name: str) -> dict[str, Any]:
        if crawler := self._crawlers.get(name):
            return crawler
        raise AwsError("EntityNotFoundException", f"Crawler {name} does not exist; create it first")

    def _idle(self, name: str) -> dict[str, Any]:
        crawler = self._crawler(name)
        if crawler["State"] != "READY":
            raise AwsError("CrawlerRunningException", f"Crawler {name} is {crawler['State']}")
        return crawler

    def _answer(self, crawler: dict[str, Any]) -> dict[str, Any]:
        if crawler["State"] == "READY":
            return crawler
        started = self._crawls_of(crawler["Name"])[-1]["StartTime"]
        return crawler | {"CrawlElapsedTime": int((now().timestamp() - started) * 1000)}

    def _crawls_of(self, name: str) -> list[dict[str, Any]]:
        return [crawl for crawl in self._crawls.values() if crawl["CrawlerName"] == name]

    def _metrics(self, name: str) -> dict[str, Any]:
        done = [crawl for crawl in self._crawls_of(name) if "EndTime" in crawl]
        seconds = [crawl["EndTime"] - crawl["StartTime"] for crawl in done] or [0.0]
        tables = done[-1]["Tables"] if done else {}
        return {
            "CrawlerName": name,
            "TimeLeftSeconds": 0.0,
            "StillEstimating": False,
            "LastRuntimeSeconds": seconds[-1],
            "MedianRuntimeSeconds": statistics.median(seconds),
            "TablesCreated": tables.get("ADD", 0),
            "TablesUpdated": tables.get("UPDATE", 0),
            "TablesDeleted": tables.get("DELETE", 0),
        }

    def _main(self, crawler: dict[str, Any], crawl: dict[str, Any]) -> None:
        """A crawl's thread."""
        with acting_as(crawler["Role"]):
            self._crawl(crawler, crawl)

    def _crawl(self, crawler: dict[str, Any], crawl: dict[str, Any]) -> None:
        lines = [f"BENCHMARK : Running Start Crawl for Crawler {crawler['Name']}"]
        work = Crawl(self.context, crawler, lines.append, lambda: self._is_cancelled(crawler))
        state, message = "COMPLETED", ""
        stream = LogStream(self.context, crawl["LogGroup"], crawl["LogStream"])
        configuration = crawler.get("CrawlerSecurityConfiguration")
        try:
            encrypt_logs(self.context, configuration, [crawl["LogGroup"]])
            work.run()
        except Cancelled:
            state = "STOPPED"
        except CrawlError as error:
            state, message = "FAILED", str(error)
        except Exception as error:
            log.exception("crawl of %s", crawler["Name"])
            state, message = "FAILED", f"{type(error).__name__}: {error}"
        if self._stopping:  # the next start finishes it
            return
        lines += [f"ERROR : {message}"] if message else []
        lines.append(f"BENCHMARK : Crawler has finished running and is in state {state}")
        stream.write(f"[{crawl['MessagePrefix']}] {line}" for line in lines)
        crawl |= {
            "Summary": work.changes.summary(),
            "Tables": {verb: work.changes.count("TABLE", verb) for verb in work.changes.VERBS},
        }
        self._finish(crawl, state, message)

    def _is_cancelled(self, crawler: dict[str, Any]) -> bool:
        return self._stopping or self._crawler(crawler["Name"])["State"] == "STOPPING"

    def _finish(self, crawl: dict[str, Any], state: str, message: str) -> None:
        end = now().timestamp()
        error = {"ErrorMessage": message} if message else {}
        statuses = {"COMPLETED": "SUCCEEDED", "FAILED": "FAILED", "STOPPED": "CANCELLED"}
        shared = ("LogGroup", "LogStream", "MessagePrefix", "StartTime")
        with self._crawler_lock:
            self._crawls[crawl["CrawlId"]] = {
                "Tables": {},
                **crawl,
                "State": state,
                "EndTime": end,
                "DPUHour": 0.0,
                **error,
            }
            crawler = self._crawler(crawl["CrawlerName"])
            self._crawlers[crawler["Name"]] = crawler | {
                "State": "READY",
                "CrawlElapsedTime": 0,
                "LastCrawl": {
                    "Status": statuses[state],
                    **error,
                    **{key: crawl[key] for key in shared},
                },
            }


def _settings(request: Request) -> dict[str, Any]:
    """The members of a request that make a crawler, checked."""
    name = request["Name"]
    targets = {kind: found for kind, found in (request.get("Targets") or {}).items() if found}
    if not targets or not targets.keys() <= set(_TARGETS):
        kinds = ", ".join(sorted(targets)) or "none"
        raise AwsError(
            "InvalidInputException",
            f"Crawler {name} has targets of kind {kinds}; here it needs {' or '.join(_TARGETS)}",
        )
    if request.get("Classifiers"):
        raise AwsError("InvalidInputException", f"Crawler {name}: no classifiers are known here")
    try:
        orjson.loads(request.get("Configuration") or "{}")
    except orjson.JSONDecodeError as error:
        raise AwsError(
            "InvalidInputException", f"Crawler {name}: Configuration is not JSON: {error}"
        ) from None
    policy = {"UpdateBehavior": "UPDATE_IN_DATABASE", "DeleteBehavior": "DEPRECATE_IN_DATABASE"}
    settings = {key: value for key, value in request.items() if key not in ("Tags", "Schedule")}
    settings["SchemaChangePolicy"] = policy | (request.get("SchemaChangePolicy") or {})
    if isinstance(schedule := request.get("Schedule"), str):
        settings["Schedule"] = {"ScheduleExpression": schedule, "State": "SCHEDULED"}
    return settings


def _log_group(crawler: dict[str, Any]) -> str:
    """Crawlers share one group, but for those with a security configuration."""
    if configuration := crawler.get("CrawlerSecurityConfiguration"):
        role = crawler["Role"].rpartition("/")[2]
        return f"{_LOG_GROUP}-role/{role}-{configuration}"
    return _LOG_GROUP
