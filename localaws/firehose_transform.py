"""Firehose's processors: what happens to records between the buffer and the object."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from localaws.service import Context, now

_PARAMETERS = {
    "AppendDelimiterToRecord": {"Delimiter"},
    "Lambda": {
        "LambdaArn",
        "NumberOfRetries",
        "RoleArn",
        "BufferSizeInMBs",
        "BufferIntervalInSeconds",
    },
}


class Transform:
    """The processors of one stream, called with each batch.

    A Lambda function is invoked with up to BufferSizeInMBs of one batch; what it answers follows
    https://docs.aws.amazon.com/firehose/latest/dev/data-transformation-status-model.html.
    """

    def __init__(self, context: Context, stream_arn: str, config: dict[str, Any]) -> None:
        self._context = context
        self._stream_arn = stream_arn
        processors = {
            processor["Type"]: _parameters(processor)
            for processor in config.get("Processors") or ()
            if config.get("Enabled")
        }
        self._lambda = processors.get("Lambda")
        self._delimiter = b""
        if "AppendDelimiterToRecord" in processors:
            # Given as text: backslash and n stand for a newline, which is also the default.
            text = processors["AppendDelimiterToRecord"].get("Delimiter", r"\n")
            self._delimiter = text.encode().decode("unicode_escape").encode()

    @staticmethod
    def check(config: dict[str, Any]) -> None:
        """Look at a ProcessingConfiguration.

        Raises:
            ValueError: with a sentence on what cannot be done.
        """
        for processor in config.get("Processors") or ():
            type = processor.get("Type")
            if type not in _PARAMETERS:
                raise ValueError(
                    f"The processor {type} is not implemented by the embedded AWS; "
                    f"there are {' and '.join(_PARAMETERS)}."
                )
            parameters = _parameters(processor)
            if unknown := set(parameters) - _PARAMETERS[type]:
                raise ValueError(f"The processor {type} has no parameter {sorted(unknown)[0]}.")
            if type == "Lambda" and not parameters.get("LambdaArn"):
                raise ValueError("The processor Lambda needs the parameter LambdaArn.")
            for name in ("NumberOfRetries", "BufferSizeInMBs"):
                if not parameters.get(name, "1").replace(".", "", 1).isdigit():
                    raise ValueError(f"{name} must be a number.")

    def __call__(self, records: list[bytes], arrived: float) -> tuple[list[bytes], list[bytes]]:
        """The records to deliver, and the lines for the error object."""
        refused: list[bytes] = []
        if self._lambda:
            given, records = records, []
            for chunk in _chunks(given, float(self._lambda.get("BufferSizeInMBs", "1"))):
                kept, failed = self._invoke(chunk, arrived, self._lambda)
                records += kept
                refused += failed
        if self._delimiter:
            records = [record + self._delimiter for record in records]
        return records, refused

    def _invoke(
        self, records: list[bytes], arrived: float, parameters: dict[str, str]
    ) -> tuple[list[bytes], list[bytes]]:
        ids = [f"{index:03}" for index in range(len(records))]
        event = {
            "invocationId": f"{arrived:.6f}",
            "deliveryStreamArn": self._stream_arn,
            "region": self._context.region,
            "records": [
                {
                    "recordId": id,
                    "approximateArrivalTimestamp": int(arrived * 1000),
                    "data": base64.b64encode(record).decode(),
                }
                for id, record in zip(ids, records, strict=True)
            ],
        }
        retries = int(float(parameters.get("NumberOfRetries", "3")))
        attempt = 1
        answers, code, message = self._call(parameters["LambdaArn"], event)
        while answers is None and attempt <= retries:
            attempt += 1
            answers, code, message = self._call(parameters["LambdaArn"], event)
        kept, refused = [], []
        for id, record in zip(ids, records, strict=True):
            answer = (answers or {}).get(id)
            result = answer.get("result") if answer else None
            data = _data(answer) if answer and result == "Ok" else None
            if data is not None:
                kept.append(data)
            elif result != "Dropped":
                if answers is not None:
                    code, message = _reason(id, result)
                refused.append(
                    orjson.dumps(
                        {
                            "attemptsMade": attempt,
                            "arrivalTimestamp": int(arrived * 1000),
                            "errorCode": code,
                            "errorMessage": message,
                            "attemptEndingTimestamp": int(now().timestamp() * 1000),
                            "rawData": base64.b64encode(record).decode(),
                            "lambdaArn": parameters["LambdaArn"],
                        },
                        option=orjson.OPT_APPEND_NEWLINE,
                    )
                )
        return kept, refused

    def _call(
        self, arn: str, event: dict[str, Any]
    ) -> tuple[dict[str, dict[str, Any]] | None, str, str]:
        """One invocation: the answers by record id, or None with the error's code and text."""
        try:
            answer = self._context.client("lambda").invoke(
                FunctionName=arn, Payload=orjson.dumps(event)
            )
            body = answer["Payload"].read()
            if answer.get("FunctionError"):
                return None, "Lambda.FunctionError", body.decode(errors="replace")
            records: Iterable[dict[str, Any]] = orjson.loads(body)["records"]
            return {record["recordId"]: record for record in records}, "", ""
        except (BotoCoreError, ClientError) as error:
            return None, "Lambda.InvokeFailed", str(error)
        except (ValueError, KeyError, TypeError) as error:
            return None, "Lambda.JsonProcessingException", f"The answer has no records: {error!r}"


def _chunks(records: list[bytes], megabytes: float) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for record in records:
        if chunk and size + len(record) > megabytes * (1 << 20):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += len(record)
    yield chunk


def _data(answer: dict[str, Any]) -> bytes | None:
    try:
        return base64.b64decode(answer["data"], validate=True)
    except (KeyError, TypeError, ValueError):
        return None


def _reason(id: str, result: object) -> tuple[str, str]:
    if result == "Ok":
        return "Lambda.InvalidData", f"The function's data for the record {id} is not base64."
    if result is None:
        return "Lambda.MissingRecordId", f"The function answered nothing for the record {id}."
    return "Lambda.ProcessingFailedStatus", f"The function answered the record with {result!r}."


def _parameters(processor: dict[str, Any]) -> dict[str, str]:
    return {
        parameter["ParameterName"]: parameter["ParameterValue"]
        for parameter in processor.get("Parameters") or ()
    }
