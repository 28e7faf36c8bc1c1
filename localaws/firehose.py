"""Firehose: delivery streams that buffer on disk and deliver to S3.

PutRecord and PutRecordBatch answer once the records are in the stream's spool, so an acknowledged
record survives a kill and is delivered by the next process. An object's name comes from its
segment's id: a delivery that is repeated because the process ended between the put and the removal
of the segment replaces its own object. Duplicates arise only where AWS has them too: a Kinesis
batch that was spooled but whose checkpoint was not written is read again, and a segment whose
stream was updated between the two attempts gets a second name. Buffers are not flushed on a stop;
they stay in the spool. AWS gives up after 24 hours of failed deliveries; here the data waits on.
"""

from __future__ import annotations

import re
import secrets
import threading
import zoneinfo
from binascii import Error as Base64Error
from binascii import a2b_base64
from pathlib import Path
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from localaws import firehose_prefix as prefix
from localaws.firehose_stream import Stream, bucket_name
from localaws.firehose_transform import Transform
from localaws.service import AwsError, Context, Request, Response, Service, now
from localaws.trail import acting_as

MAX_STREAMS = 50
MAX_RECORDS = 500
MAX_RECORD_BYTES = 1000 * 1024
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_TAGS = 50

_DESTINATION_ID = "destinationId-000000000001"
_ENCRYPTION = "DeliveryStreamEncryptionConfigurationInput"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_ROLE_ARN = re.compile(r"arn:[^:]*:iam::\d{12}:role/.+")
_EXTENSION = re.compile(r"|\.[0-9a-z!\-_.*'()]+")
_DESTINATION = re.compile(r"(\w+)Destination(Configuration|Update)")
_DEFAULTS: dict[str, Any] = {
    "Prefix": "",
    "ErrorOutputPrefix": "",
    "BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 300},
    "CompressionFormat": "UNCOMPRESSED",
    "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
    "CloudWatchLoggingOptions": {"Enabled": False},
}
_EXTENDED_DEFAULTS: dict[str, Any] = _DEFAULTS | {
    "ProcessingConfiguration": {"Enabled": False, "Processors": []},
    "S3BackupMode": "Disabled",
    "DataFormatConversionConfiguration": {"Enabled": False},
    "DynamicPartitioningConfiguration": {"Enabled": False},
    "FileExtension": "",
    "CustomTimeZone": "UTC",
}
_ABSENT_WHEN_OFF = ("DynamicPartitioningConfiguration", "ProcessingConfiguration")


class Firehose(Service):
    """The Firehose API."""

    scope: ClassVar[str] = "firehose"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._records = context.state.table("firehose_streams")
        self._folder = context.home / "firehose"
        self._lock = threading.RLock()
        self._streams = {
            record["name"]: Stream(context, record, self._spool_folder(record["name"]))
            for record in self._records.values()
        }
        self._started = False

    def _spool_folder(self, name: str) -> Path:
        return self._folder / f"{name}.spool"  # never "." or "..", which are good names

    def start(self) -> None:
        """Take up delivery where the last process stopped."""
        with self._lock:
            self._started = True
            for stream in self._streams.values():
                stream.start()

    def stop(self) -> None:
        """Stop delivering; what is not delivered stays in the spools."""
        with self._lock:
            self._started = False
            for stream in self._streams.values():
                stream.stop()
            for stream in self._streams.values():
                stream.join()

    # Streams

    def CreateDeliveryStream(self, request: Request) -> Response:
        """Create a stream that is ACTIVE at once."""
        name = request.get("DeliveryStreamName") or ""
        if not _NAME.fullmatch(name):
            raise _invalid(
                f"DeliveryStreamName {name!r} must be 1 to 64 letters, digits, '_', '.' or '-'."
            )
        kind, config = _destination(request)
        destination = _checked(kind, config)
        with self._lock:
            if name in self._streams:
                raise AwsError(
                    "ResourceInUseException",
                    f"Firehose {name} under accountId {self.context.account} already exists",
                )
            if len(self._streams) >= MAX_STREAMS:
                raise AwsError(
                    "LimitExceededException",
                    f"There are {MAX_STREAMS} delivery streams already; delete one first.",
                )
            created = now().timestamp()
            record = {
                "name": name,
                "version": 1,
                "created": created,
                "updated": None,
                "kind": kind,
                "destination": destination,
                "encryption": _encryption(
                    request.get("DeliveryStreamEncryptionConfigurationInput")
                ),
                "tags": _merged_tags({}, request.get("Tags") or []),
                **self._source(request, created),
            }
            stream = Stream(self.context, record, self._spool_folder(name))
            self._records[name] = record
            self._streams[name] = stream
            if self._started:
                stream.start()
        return {"DeliveryStreamARN": stream.arn}

    def _source(self, request: Request, created: float) -> dict[str, Any]:
        type = request.get("DeliveryStreamType") or "DirectPut"
        if type == "DirectPut":
            return {"type": type, "source": None}
        if type != "KinesisStreamAsSource":
            raise _invalid(f"The embedded AWS has no DeliveryStreamType {type}.")
        source = request.get("KinesisStreamSourceConfiguration") or {}
        if not source.get("KinesisStreamARN") or not source.get("RoleARN"):
            raise _invalid(
                "KinesisStreamSourceConfiguration with KinesisStreamARN and RoleARN is required "
                "for KinesisStreamAsSource."
            )
        try:
            with acting_as(source["RoleARN"]):
                self.context.client("kinesis").describe_stream(StreamARN=source["KinesisStreamARN"])
        except ClientError as error:
            raise _invalid(f"The source cannot be read: {error}") from None
        return {"type": type, "source": source | {"DeliveryStartTimestamp": created}}

    def DescribeDeliveryStream(self, request: Request) -> Response:
        """All that Terraform reads back."""
        stream = self._stream(request)
        record = stream.record
        destination = {
            "DestinationId": _DESTINATION_ID,
            "S3DestinationDescription": {
                name: record["destination"][name] for name in ("RoleARN", "BucketARN", *_DEFAULTS)
            },
        }
        if record["kind"] == "ExtendedS3":
            destination["ExtendedS3DestinationDescription"] = {
                name: value
                for name, value in record["destination"].items()
                if name not in _ABSENT_WHEN_OFF or value["Enabled"]
            }
        description = {
            "DeliveryStreamName": record["name"],
            "DeliveryStreamARN": stream.arn,
            "DeliveryStreamStatus": "ACTIVE",
            "DeliveryStreamType": record["type"],
            "VersionId": str(record["version"]),
            "CreateTimestamp": record["created"],
            "Destinations": [destination],
            "HasMoreDestinations": False,
        }
        if record["updated"]:
            description["LastUpdateTimestamp"] = record["updated"]
        if record["type"] == "DirectPut":  # else Kinesis' own key encrypts
            description["DeliveryStreamEncryptionConfiguration"] = record["encryption"]
        if record["source"]:
            description["Source"] = {"KinesisStreamSourceDescription": record["source"]}
        return {"DeliveryStreamDescription": description}

    def UpdateDestination(self, request: Request) -> Response:
        """Change the destination; what is not named stays as it was."""
        with self._lock:
            stream = self._stream(request)
            record = stream.record
            if str(request.get("CurrentDeliveryStreamVersionId")) != str(record["version"]):
                raise AwsError(
                    "ConcurrentModificationException",
                    f"Firehose {record['name']} is at version {record['version']}; "
                    "fetch VersionId again and use it to update the destination.",
                )
            if request.get("DestinationId") != _DESTINATION_ID:
                raise _invalid(
                    f"Destination Id {request.get('DestinationId')} not found; "
                    f"{record['name']} has {_DESTINATION_ID}."
                )
            kind, update = _destination(request)
            if kind == "S3" and record["kind"] == "ExtendedS3":
                kind = "ExtendedS3"
            self._save(
                stream,
                kind=kind,
                destination=_checked(kind, record["destination"] | update),
                version=record["version"] + 1,
                updated=now().timestamp(),
            )
        return {}

    def DeleteDeliveryStream(self, request: Request) -> Response:
        """Delete the stream and, as on AWS, what it has not delivered."""
        with self._lock:
            stream = self._stream(request)
            name = stream.record["name"]
            self._records.pop(name)
            del self._streams[name]
            stream.stop()
        stream.join()
        stream.delete()
        return {}

    def ListDeliveryStreams(self, request: Request) -> Response:
        """Names in order, after ExclusiveStartDeliveryStreamName."""
        names = sorted(
            name
            for name, stream in self._streams.items()
            if request.get("DeliveryStreamType") in (None, stream.record["type"])
            and name > (request.get("ExclusiveStartDeliveryStreamName") or "")
        )
        limit = _limit(request, 10, 10_000)
        return {"DeliveryStreamNames": names[:limit], "HasMoreDeliveryStreams": len(names) > limit}

    def StartDeliveryStreamEncryption(self, request: Request) -> Response:
        """Record the key; the spool on this machine's disk stays in the clear."""
        with self._lock:
            stream = self._direct_put(request)
            wanted = request.get(_ENCRYPTION) or {"KeyType": "AWS_OWNED_CMK"}
            self._save(stream, encryption=_encryption(wanted))
        return {}

    def StopDeliveryStreamEncryption(self, request: Request) -> Response:
        """Forget the key."""
        with self._lock:
            self._save(self._direct_put(request), encryption=_encryption(None))
        return {}

    def TagDeliveryStream(self, request: Request) -> Response:
        """Add or replace tags."""
        with self._lock:
            stream = self._stream(request)
            self._save(stream, tags=_merged_tags(stream.record["tags"], request.get("Tags") or []))
        return {}

    def UntagDeliveryStream(self, request: Request) -> Response:
        """Remove tags; a key that is not there is no error."""
        with self._lock:
            stream = self._stream(request)
            gone = set(request.get("TagKeys") or ())
            kept = {key: value for key, value in stream.record["tags"].items() if key not in gone}
            self._save(stream, tags=kept)
        return {}

    def ListTagsForDeliveryStream(self, request: Request) -> Response:
        """Tags in the order of their keys, after ExclusiveStartTagKey."""
        tags = self._stream(request).record["tags"]
        start = request.get("ExclusiveStartTagKey") or ""
        keys = sorted(key for key in tags if key > start)
        limit = _limit(request, MAX_TAGS, MAX_TAGS)
        return {
            "Tags": [{"Key": key, "Value": tags[key]} for key in keys[:limit]],
            "HasMoreTags": len(keys) > limit,
        }

    # Records

    def PutRecord(self, request: Request) -> Response:
        """Keep one record; ServiceUnavailableException when the spool cannot be written."""
        stream = self._direct_put(request)
        data = _decoded([request.get("Record") or {}], "record")
        try:
            stream.put(data)
        except OSError as error:
            raise AwsError("ServiceUnavailableException", _unavailable(error), 503) from None
        return {"RecordId": secrets.token_urlsafe(96), "Encrypted": stream.is_encrypted}

    def PutRecordBatch(self, request: Request) -> Response:
        """Keep up to 500 records, all or none.

        Wrong requests are refused whole. A spool that cannot be written is a failure of each
        record, answered with 200 and FailedPutCount, as AWS answers when it is throttled.
        """
        stream = self._direct_put(request)
        records = request.get("Records") or []
        if not 0 < len(records) <= MAX_RECORDS:
            raise _constraint(
                "records",
                f"Member must have length less than or equal to {MAX_RECORDS}"
                if records
                else "Member must have length greater than or equal to 1",
            )
        data = _decoded(records, "records.{}.member")
        failed = 0
        try:
            stream.put(data)
            id = secrets.token_urlsafe(96)
            answers = [{"RecordId": f"{id}{index:03}"} for index in range(len(data))]
        except OSError as error:
            failed = len(data)
            answers = [
                {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": _unavailable(error)}
            ] * failed
        return {
            "FailedPutCount": failed,
            "Encrypted": stream.is_encrypted,
            "RequestResponses": answers,
        }

    def _stream(self, request: Request) -> Stream:
        name = request.get("DeliveryStreamName")
        stream = self._streams.get(name or "")
        if stream is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"Firehose {name} under account {self.context.account} not found.",
            )
        return stream

    def _direct_put(self, request: Request) -> Stream:
        stream = self._stream(request)
        if stream.record["type"] != "DirectPut":
            raise _invalid(
                f"This operation is not permitted on {stream.record['type']} delivery stream type."
            )
        return stream

    def _save(self, stream: Stream, **changes: Any) -> None:
        record = stream.record | changes
        self._records[record["name"]] = record
        stream.update(record)


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidArgumentException", message)


def _constraint(member: str, text: str) -> AwsError:
    return AwsError(
        "ValidationException",
        f"1 validation error detected: Value at '{member}' failed to satisfy constraint: {text}",
    )


def _unavailable(error: OSError) -> str:
    return f"The stream's buffer cannot be written ({error.strerror}). Slow down and send again."


def _limit(request: Request, default: int, most: int) -> int:
    limit = request.get("Limit") or default
    if not 1 <= limit <= most:
        raise _constraint("limit", f"Member must have value between 1 and {most}")
    return limit


def _decoded(records: list[dict[str, Any]], member: str) -> list[bytes]:
    """The records' bytes, within the limits of one request."""
    try:
        data = [a2b_base64(record["Data"], strict_mode=True) for record in records]
    except (KeyError, TypeError):
        raise _constraint(member.format("N") + ".data", "Member must not be null") from None
    except (Base64Error, ValueError) as error:
        raise AwsError("SerializationException", f"Data is not base64: {error}") from None
    lengths = list(map(len, data))
    if max(lengths) > MAX_RECORD_BYTES:
        index = next(i for i, length in enumerate(lengths, 1) if length > MAX_RECORD_BYTES)
        raise _constraint(
            member.format(index) + ".data",
            f"Member must have length less than or equal to {MAX_RECORD_BYTES}",
        )
    if sum(lengths) > MAX_BATCH_BYTES:
        raise _invalid("Records size exceeds 4 MB limit")
    return data


def _merged_tags(tags: dict[str, str], more: list[dict[str, str]]) -> dict[str, str]:
    merged = tags | {tag["Key"]: tag.get("Value", "") for tag in more}
    if len(merged) > MAX_TAGS:
        raise AwsError("LimitExceededException", f"A stream can have {MAX_TAGS} tags at most.")
    return merged


def _encryption(wanted: dict[str, Any] | None) -> dict[str, Any]:
    if not wanted:
        return {"Status": "DISABLED"}
    if wanted.get("KeyType") == "CUSTOMER_MANAGED_CMK" and not wanted.get("KeyARN"):
        raise _invalid("KeyARN is required for KeyType CUSTOMER_MANAGED_CMK.")
    return {"Status": "ENABLED"} | wanted


def _destination(request: Request) -> tuple[str, dict[str, Any]]:
    """Kind and settings of the one destination a request names."""
    found = [
        (match[1], value)
        for name, value in request.items()
        if (match := _DESTINATION.fullmatch(name))
    ]
    if len(found) != 1:
        raise _invalid("Exactly one destination configuration is supported for a Firehose stream.")
    kind, config = found[0]
    if kind not in ("S3", "ExtendedS3"):
        raise _invalid(f"The embedded AWS delivers to S3 only, not to {kind}.")
    return kind, config


def _checked(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """The settings with their defaults; InvalidArgumentException for what cannot be done."""
    settings = (_EXTENDED_DEFAULTS if kind == "ExtendedS3" else _DEFAULTS) | config
    arn = settings.get("BucketARN") or ""
    if not bucket_name(arn):
        raise _invalid(f"BucketARN {arn!r} is not the ARN of a bucket (arn:aws:s3:::name).")
    if not _ROLE_ARN.fullmatch(settings.get("RoleARN") or ""):
        raise _invalid(f"RoleARN {settings.get('RoleARN')!r} is not the ARN of a role.")
    hints = settings["BufferingHints"]
    if set(hints) != {"SizeInMBs", "IntervalInSeconds"}:
        raise _invalid("BufferingHints needs both SizeInMBs and IntervalInSeconds.")
    if not 1 <= hints["SizeInMBs"] <= 128:
        raise _invalid(f"SizeInMBs must be from 1 to 128, not {hints['SizeInMBs']}.")
    if not 0 <= hints["IntervalInSeconds"] <= 900:
        raise _invalid(
            f"IntervalInSeconds must be from 0 to 900, not {hints['IntervalInSeconds']}."
        )
    if settings["CompressionFormat"] not in ("UNCOMPRESSED", "GZIP"):
        raise _invalid(
            f"CompressionFormat {settings['CompressionFormat']} is not implemented by the embedded "
            "AWS; use UNCOMPRESSED or GZIP."
        )
    options = settings["CloudWatchLoggingOptions"]
    if options.get("Enabled") and not (
        options.get("LogGroupName") and options.get("LogStreamName")
    ):
        raise _invalid("CloudWatchLoggingOptions needs LogGroupName and LogStreamName.")
    _check_prefixes(settings)
    if kind == "ExtendedS3":
        _check_extended(settings)
    return settings


def _check_prefixes(settings: dict[str, Any]) -> None:
    start, errors = settings["Prefix"], settings["ErrorOutputPrefix"]
    try:
        prefix.evaluate(prefix.object_prefix(start), now(), "random")
        prefix.evaluate(prefix.error_prefix(start, errors), now(), "random", "processing-failed")
    except ValueError as error:
        raise _invalid(
            f"The supplied prefix(es) do not satisfy the following constraint: {error}"
        ) from None


def _check_extended(settings: dict[str, Any]) -> None:
    if settings["S3BackupMode"] != "Disabled":
        raise _invalid("S3BackupMode is not implemented by the embedded AWS; set it to Disabled.")
    for feature in ("DataFormatConversionConfiguration", "DynamicPartitioningConfiguration"):
        if settings[feature].get("Enabled"):
            raise _invalid(f"{feature} is not implemented by the embedded AWS; disable it.")
    if not _EXTENSION.fullmatch(settings["FileExtension"]):
        raise _invalid(f"FileExtension {settings['FileExtension']!r} must look like '.json.gz'.")
    try:
        zoneinfo.ZoneInfo(settings["CustomTimeZone"] or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise _invalid(f"There is no CustomTimeZone {settings['CustomTimeZone']!r}.") from None
    try:
        Transform.check(settings["ProcessingConfiguration"])
    except ValueError as error:
        raise _invalid(str(error)) from None
