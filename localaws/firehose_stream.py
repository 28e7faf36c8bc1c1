"""A delivery stream at work: polled or put into a spool, and from there to S3."""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import threading
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from localaws import firehose_prefix as prefix
from localaws.firehose_spool import Segment, Spool
from localaws.firehose_transform import Transform
from localaws.logs import LogStream
from localaws.service import Context, now
from localaws.trail import acting_as

log = logging.getLogger("localaws")

METRICS_INTERVAL_SECONDS = 5.0
POLL_INTERVAL_SECONDS = 0.5
RETRY_SECONDS = (0.5, 1, 2, 5, 10, 30)
#: Level 1 keeps a core free for the clients; level 6 makes click events a sixth smaller.
GZIP_LEVEL = 1

_BUCKET_ARN = re.compile(r"arn:[^:]*:s3:::([\w.-]{1,255})")


def bucket_name(arn: str) -> str | None:
    """The bucket an ARN names, or None when it is not a bucket's."""
    match = _BUCKET_ARN.fullmatch(arn)
    return match[1] if match else None


class Stream:
    """One delivery stream at work: its spool, and the threads that fill and empty it."""

    def __init__(self, context: Context, record: dict[str, Any], folder: Path) -> None:
        self.arn = context.arn("firehose", f"deliverystream/{record['name']}")
        self._context = context
        self._folder = folder
        self._spool = Spool(folder)
        self._metrics = Metrics(context, record["name"])
        self._checkpoints = context.state.table("firehose_checkpoints")
        self._stopping = threading.Event()
        self._updated = threading.Event()
        self._threads: list[threading.Thread] = []
        self.update(record)

    def update(self, record: dict[str, Any]) -> None:
        """Take over a changed configuration."""
        self.record = record
        hints = record["destination"]["BufferingHints"]
        self._size = hints["SizeInMBs"] << 20
        self._interval = hints["IntervalInSeconds"]
        self.is_encrypted = record["encryption"]["Status"] == "ENABLED"
        self._transform = Transform(
            self._context, self.arn, record["destination"].get("ProcessingConfiguration") or {}
        )
        self._updated.set()

    def start(self) -> None:
        """Begin to deliver (and to poll)."""
        jobs: list[Callable[[], None]] = [self._deliver_all, self._publish_metrics]
        if self.record["source"]:
            jobs.append(self._poll)
        for job in jobs:
            thread = threading.Thread(
                target=job, name=f"firehose-{self.record['name']}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Tell the threads to end."""
        self._stopping.set()
        self._updated.set()
        with self._spool.changed:
            self._spool.changed.notify_all()

    def join(self) -> None:
        """Wait until the threads have ended, within reason."""
        for thread in self._threads:
            thread.join(timeout=3)
        self._spool.close()

    def delete(self) -> None:
        """Forget the records and the checkpoints."""
        for key in self._checkpoints:
            if key.startswith(f"{self.record['name']}/"):
                self._checkpoints.pop(key)
        shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, records: list[bytes]) -> None:
        """Keep the records of a request; they are safe from a kill when it returns.

        Raises:
            OSError: none of them was kept.
        """
        self._keep(records)
        self._metrics.add("IncomingPutRequests", 1)

    def _keep(self, records: list[bytes]) -> None:
        self._spool.append(records, now().timestamp(), self._size)
        self._metrics.add("IncomingRecords", len(records))
        self._metrics.add("IncomingBytes", sum(map(len, records)), "Bytes")

    # Delivery

    def _deliver_all(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            segment = self._spool.take(self._interval, now().timestamp())
            if segment is None:
                with self._spool.changed:
                    self._spool.changed.wait(min(max(self._interval / 10, 0.05), 0.5))
                continue
            self._updated.clear()
            try:
                with acting_as(self.record["destination"]["RoleARN"]):
                    self._deliver(segment)
                failures = 0
            except Exception as error:  # whatever it is, the records wait and are tried again
                if self._stopping.is_set():
                    return
                self._report(error)
                self._updated.wait(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1

    def _deliver(self, segment: Segment) -> None:
        destination = self.record["destination"]
        zone = zoneinfo.ZoneInfo(destination.get("CustomTimeZone") or "UTC")
        time = datetime.fromtimestamp(segment.opened_at, UTC).astimezone(zone)
        random = segment.id.replace("-", "")
        start, errors = destination["Prefix"], destination["ErrorOutputPrefix"]
        name = (
            f"{self.record['name']}-{self.record['version']}-{time:%Y-%m-%d-%H-%M-%S}-{segment.id}"
        )
        is_gzip = destination["CompressionFormat"] == "GZIP"
        key = (
            prefix.evaluate(prefix.object_prefix(start), time, random)
            + name
            + (destination.get("FileExtension") or (".gz" if is_gzip else ""))
        )
        body = segment.path.with_suffix(".object")
        failed = segment.path.with_suffix(".failed")
        records = 0
        # The same segment always gives the same bytes: no file name, no time in the header.
        with (
            body.open("wb") as raw,
            gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) if is_gzip else raw as out,
            failed.open("wb") as rejected,
        ):
            for arrived, batch in segment.batches():
                kept, refused = self._transform(batch, arrived)
                out.write(b"".join(kept))
                rejected.writelines(refused)
                records += len(kept)
        if failed.stat().st_size:
            error_key = prefix.evaluate(
                prefix.error_prefix(start, errors), time, random, "processing-failed"
            )
            self._put_object(failed, error_key + name)
        if records:
            self._put_object(body, key)
            self._metrics.add("DeliveryToS3.Records", records)
            self._metrics.add("DeliveryToS3.Bytes", body.stat().st_size, "Bytes")
        self._metrics.add(
            "DeliveryToS3.DataFreshness", now().timestamp() - segment.opened_at, "Seconds"
        )
        self._spool.remove(segment)
        body.unlink()
        failed.unlink()

    def _put_object(self, path: Path, key: str) -> None:
        destination = self.record["destination"]
        kms = destination["EncryptionConfiguration"].get("KMSEncryptionConfig")
        options = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms["AWSKMSKeyARN"]} if kms else {}
        )
        succeeded = False
        try:
            with path.open("rb") as body:
                self._context.client("s3").put_object(
                    Bucket=bucket_name(destination["BucketARN"]), Key=key, Body=body, **options
                )
            succeeded = True
        finally:
            self._metrics.add("DeliveryToS3.Success", int(succeeded))

    def _report(self, error: Exception) -> None:
        """Say why a delivery failed: in this process's log and in the stream's log."""
        destination = self.record["destination"]
        log.warning("firehose %s: delivery failed, will retry: %s", self.record["name"], error)
        options = destination["CloudWatchLoggingOptions"]
        if not options.get("Enabled"):
            return
        code = (
            error.response["Error"]["Code"]
            if isinstance(error, ClientError)
            else type(error).__name__
        )
        line = orjson.dumps(
            {
                "deliveryStreamARN": self.arn,
                "destination": destination["BucketARN"],
                "deliveryStreamVersionId": self.record["version"],
                "message": str(error),
                "errorCode": f"S3.{code}",
            }
        )
        try:
            # On AWS the stream in the log group is there already.
            stream = LogStream(self._context, options["LogGroupName"], options["LogStreamName"])
            with acting_as(destination["RoleARN"]):
                stream.write([line.decode()])
        except (BotoCoreError, ClientError) as failure:
            log.warning("firehose %s: cannot log: %s", self.record["name"], failure)

    # Kinesis source

    def _poll(self) -> None:
        with acting_as(self.record["source"]["RoleARN"]):
            self._read_shards()

    def _read_shards(self) -> None:
        """Read every shard from its checkpoint, or from the stream's creation on."""
        iterators: dict[str, str] = {}
        source = self.record["source"]["KinesisStreamARN"]
        while not self._stopping.is_set():
            busy = False
            try:
                for shard in self._shards():
                    if self._stopping.is_set():
                        return
                    token = iterators.pop(shard, None) or self._iterator(shard)
                    answer = self._context.client("kinesis").get_records(
                        StreamARN=source, ShardIterator=token, Limit=10_000
                    )
                    if answer["Records"]:
                        self._keep_read(shard, answer["Records"])
                        busy = True
                    if answer.get("NextShardIterator"):
                        iterators[shard] = answer["NextShardIterator"]
            except Exception as error:
                # The tokens are dropped: the next round starts again from the checkpoints.
                iterators.clear()
                if not self._stopping.wait(1):
                    log.warning("firehose %s: cannot read: %s", self.record["name"], error)
            if not busy:
                self._stopping.wait(POLL_INTERVAL_SECONDS)

    def _shards(self) -> Iterator[str]:
        pages = self._context.client("kinesis").get_paginator("list_shards")
        for page in pages.paginate(StreamARN=self.record["source"]["KinesisStreamARN"]):
            for shard in page["Shards"]:
                yield shard["ShardId"]

    def _iterator(self, shard: str) -> str:
        source = self.record["source"]
        checkpoint = self._checkpoints.get(f"{self.record['name']}/{shard}")
        start = (
            {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": checkpoint["sequence"],
            }
            if checkpoint
            else {
                "ShardIteratorType": "AT_TIMESTAMP",
                "Timestamp": source["DeliveryStartTimestamp"],
            }
        )
        answer = self._context.client("kinesis").get_shard_iterator(
            StreamARN=source["KinesisStreamARN"], ShardId=shard, **start
        )
        return answer["ShardIterator"]

    def _keep_read(self, shard: str, records: list[dict[str, Any]]) -> None:
        data = [record["Data"] for record in records]
        self._keep(data)
        self._metrics.add("DataReadFromKinesisStream.Records", len(data))
        self._metrics.add("DataReadFromKinesisStream.Bytes", sum(map(len, data)), "Bytes")
        self._checkpoints[f"{self.record['name']}/{shard}"] = {
            "sequence": records[-1]["SequenceNumber"]
        }

    # Metrics

    def _publish_metrics(self) -> None:
        while not self._stopping.wait(METRICS_INTERVAL_SECONDS):
            oldest = self._spool.oldest()
            if oldest is not None:
                self._metrics.add(
                    "DeliveryToS3.DataFreshness", now().timestamp() - oldest, "Seconds"
                )
            self._metrics.publish()


class Metrics:
    """Counts by name, sent to CloudWatch as statistic sets; a kill loses the unsent seconds."""

    def __init__(self, context: Context, stream: str) -> None:
        self._context = context
        self._dimensions = [{"Name": "DeliveryStreamName", "Value": stream}]
        self._lock = threading.Lock()
        self._sets: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, name: str, value: float, unit: str = "Count") -> None:
        """Count one sample."""
        with self._lock:
            found = self._sets.get((name, unit))
            if found is None:
                self._sets[name, unit] = {
                    "SampleCount": 1,
                    "Sum": value,
                    "Minimum": value,
                    "Maximum": value,
                }
                return
            found["SampleCount"] += 1
            found["Sum"] += value
            found["Minimum"] = min(found["Minimum"], value)
            found["Maximum"] = max(found["Maximum"], value)

    def publish(self) -> None:
        """Send what was counted since the last call."""
        with self._lock:
            sets, self._sets = self._sets, {}
        if not sets:
            return
        try:
            self._context.client("cloudwatch").put_metric_data(
                Namespace="AWS/Firehose",
                MetricData=[
                    {
                        "MetricName": name,
                        "Dimensions": self._dimensions,
                        "Timestamp": now(),
                        "Unit": unit,
                        "StatisticValues": values,
                    }
                    for (name, unit), values in sets.items()
                ],
            )
        except (BotoCoreError, ClientError) as error:
            log.warning("firehose: metrics were not sent: %s", error)
