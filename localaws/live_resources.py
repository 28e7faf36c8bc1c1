"""The live path's resources, created here where there is no Terraform: see `resources`."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from localaws.service import Context

if TYPE_CHECKING:
    from clickstream.config import Config

Ensure = Callable[[Callable[[], Any], Callable[[], Any]], Any]

#: As in terraform/variables.tf.
CURRENCY = "USD"
ALLOWED_ORIGINS = "http://127.0.0.1:8000,http://localhost:8000"
CART_ABANDONED_SECONDS = 1800
LONG_SESSION_SECONDS = 1200
WINDOW_SECONDS = 60
BATCH_SIZE = 500
#: (path, method, whether API Gateway asks for a key): a beacon brings its key as a parameter.
METHODS = (
    ("events", "POST", True),
    ("events", "OPTIONS", False),
    ("beacon", "POST", False),
    ("beacon", "OPTIONS", False),
    ("health", "GET", False),
)
THROTTLE = {"rateLimit": 1000.0, "burstLimit": 2000}
#: A browser may read why API Gateway itself refused it.
REFUSAL = {"Access-Control-Allow-Origin": "'*'"}
TRY_AGAIN = {
    **REFUSAL,
    "Access-Control-Expose-Headers": "'Retry-After'",
    "Retry-After": "'2'",
}
REFUSALS = {"DEFAULT_4XX": REFUSAL, "DEFAULT_5XX": TRY_AGAIN, "THROTTLED": TRY_AGAIN}
REFUSAL_TEMPLATES = {"application/json": '{"message":$context.error.messageString}'}


class LiveResources:
    """Creates what is missing, one method a kind; `ensure` counts what was."""

    def __init__(self, context: Context, names: Config, ensure: Ensure) -> None:
        self._context, self._names, self._ensure = context, names, ensure
        self._live = names.live

    def topics(self) -> None:
        """The topics that people and programs subscribe to."""
        sns = self._context.client("sns")
        for name in (
            self._live.purchases_topic,
            self._live.push_topic,
            self._live.alerts_topic,
        ):
            self._ensure(
                partial(sns.get_topic_attributes, TopicArn=self._context.arn("sns", name)),
                partial(sns.create_topic, Name=name),
            )

    def queues(self) -> None:
        """Where what could not be handled waits for somebody."""
        sqs = self._context.client("sqs")
        for name in (self._live.failures_queue, self._live.dead_letters_queue):
            self._ensure(
                partial(sqs.get_queue_url, QueueName=name),
                partial(sqs.create_queue, QueueName=name),
            )

    def tables(self) -> None:
        """The live sessions, and the reactions that were made."""
        text = {"AttributeType": "S"}
        watched = [("watch", "HASH"), ("due_at", "RANGE")]
        self._table(
            self._live.table,
            "expires_at",
            AttributeDefinitions=[
                {"AttributeName": "id", **text},
                {"AttributeName": "watch", **text},
                {"AttributeName": "due_at", "AttributeType": "N"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "watch",
                    "KeySchema": [{"AttributeName": n, "KeyType": kind} for n, kind in watched],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        self._table(
            self._live.reactions_table,
            "expiration",
            AttributeDefinitions=[{"AttributeName": "id", **text}],
        )

    def _table(self, name: str, expires: str, **schema: Any) -> None:
        dynamodb = self._context.client("dynamodb")
        key = [{"AttributeName": "id", "KeyType": "HASH"}]

        def create() -> None:
            dynamodb.create_table(
                TableName=name, KeySchema=key, BillingMode="PAY_PER_REQUEST", **schema
            )
            dynamodb.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": expires},
            )

        self._ensure(partial(dynamodb.describe_table, TableName=name), create)

    def functions(self, api_key: str) -> None:
        """The four functions, which follow the checkout."""
        live = self._live
        topic = partial(self._context.arn, "sns")
        watch = {
            "LIVE_TABLE": live.table,
            "EVENT_BUS": live.bus,
            "CART_ABANDONED_SECONDS": str(CART_ABANDONED_SECONDS),
            "CURRENCY": CURRENCY,
            "LONG_SESSION_SECONDS": str(LONG_SESSION_SECONDS),
        }
        roles = self._names.roles
        self._function(
            live.collector,
            "collector.handler.handle",
            roles.collector,
            {
                "STREAM": self._names.kinesis_stream,
                "ALLOWED_ORIGINS": ALLOWED_ORIGINS,
                "WRITE_KEYS_SHA256": hashlib.sha256(api_key.encode()).hexdigest(),
            },
            timeout=25,
        )
        self._function(live.stream, "stream.handler.on_records", roles.stream, watch, timeout=60)
        self._function(live.clock, "stream.handler.on_minute", roles.stream, watch, timeout=60)
        self._function(
            live.react,
            "react.handler.handle",
            roles.react,
            {
                "STREAM": self._names.kinesis_stream,
                "REACTIONS_TABLE": live.reactions_table,
                "PURCHASE_TOPIC_ARN": topic(live.purchases_topic),
                "PUSH_TOPIC_ARN": topic(live.push_topic),
                "ALERT_TOPIC_ARN": topic(live.alerts_topic),
            },
            timeout=30,
        )

    def _function(
        self, name: str, handler: str, role: str, variables: dict[str, str], timeout: int
    ) -> None:
        client, names = self._context.client("lambda"), self._names
        code = {
            "S3Bucket": names.buckets.artifacts,
            "S3Key": f"{names.prefixes.functions}lambdas.zip",
        }
        settings = {
            "Role": f"arn:aws:iam::{self._context.account}:role/{role}",
            "Handler": f"lambdas.{handler}",
            "Runtime": "python3.13",
            "Timeout": timeout,
            "MemorySize": 512,
            "Environment": {"Variables": variables},
            "DeadLetterConfig": {
                "TargetArn": self._context.arn("sqs", self._live.dead_letters_queue)
            },
        }
        found = self._ensure(
            partial(client.get_function, FunctionName=name),
            partial(client.create_function, FunctionName=name, Code=code, **settings),
        )
        if found:
            client.update_function_code(FunctionName=name, **code)
            client.update_function_configuration(FunctionName=name, **settings)

    def stream(self) -> None:
        """Kinesis invokes the stream's function, in windows of a minute."""
        client, live = self._context.client("lambda"), self._live
        source = self._context.arn("kinesis", f"stream/{self._names.kinesis_stream}")
        failures = self._context.arn("sqs", live.failures_queue)
        settings = {
            "FunctionName": live.stream,
            "BatchSize": BATCH_SIZE,
            "TumblingWindowInSeconds": WINDOW_SECONDS,
            "MaximumRetryAttempts": 10,
            "MaximumRecordAgeInSeconds": 3600,
            "BisectBatchOnFunctionError": True,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "DestinationConfig": {"OnFailure": {"Destination": failures}},
        }
        found = client.list_event_source_mappings(FunctionName=live.stream)["EventSourceMappings"]
        for mapping in found:
            client.update_event_source_mapping(UUID=mapping["UUID"], **settings)
        if not found:
            client.create_event_source_mapping(
                EventSourceArn=source, StartingPosition="LATEST", **settings
            )

    def rules(self) -> None:
        """Key events invoke the reactions, and each minute the clock's function."""
        events, live = self._context.client("events"), self._live
        function = partial(self._context.arn, "lambda")
        dead_letters = {"Arn": self._context.arn("sqs", live.dead_letters_queue)}
        self._ensure(
            partial(events.describe_event_bus, Name=live.bus),
            partial(events.create_event_bus, Name=live.bus),
        )
        events.put_rule(
            Name=live.react,
            EventBusName=live.bus,
            EventPattern=json.dumps({"source": ["clickstream"]}),
        )
        events.put_targets(
            Rule=live.react,
            EventBusName=live.bus,
            Targets=[
                {
                    "Id": "react",
                    "Arn": function(f"function:{live.react}"),
                    "RetryPolicy": {
                        "MaximumRetryAttempts": 10,
                        "MaximumEventAgeInSeconds": 3600,
                    },
                    "DeadLetterConfig": dead_letters,
                }
            ],
        )
        events.put_rule(Name=live.clock, ScheduleExpression="rate(1 minute)")
        events.put_targets(
            Rule=live.clock,
            Targets=[
                {
                    "Id": "clock",
                    "Arn": function(f"function:{live.clock}"),
                    "RetryPolicy": {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 300},
                    "DeadLetterConfig": dead_letters,
                }
            ],
        )
        client = self._context.client("lambda")
        for name, seconds in ((live.react, 3600), (live.clock, 300)):
            client.put_function_event_invoke_config(
                FunctionName=name, MaximumRetryAttempts=2, MaximumEventAgeInSeconds=seconds
            )

    def permissions(self) -> None:
        """Who may invoke which function."""
        client, live = self._context.client("lambda"), self._live
        rule = partial(self._context.arn, "events")
        (api,) = self._apis()
        for function, service, source in (
            (live.collector, "apigateway", self._context.arn("execute-api", f"{api['id']}/*")),
            (live.react, "events", rule(f"rule/{live.bus}/{live.react}")),
            (live.clock, "events", rule(f"rule/{live.clock}")),
        ):
            with contextlib.suppress(client.exceptions.ResourceConflictException):
                client.add_permission(
                    FunctionName=function,
                    StatementId=service,
                    Action="lambda:InvokeFunction",
                    Principal=f"{service}.amazonaws.com",
                    SourceArn=source,
                )

    def _apis(self) -> list[dict[str, Any]]:
        apis = self._context.client("apigateway").get_rest_apis(limit=500)["items"]
        return [api for api in apis if api["name"] == self._live.api]

    def api_key(self) -> str:
        """The browsers' key, made when there is none. It opens nothing but the way in."""
        gateway, name = self._context.client("apigateway"), self._live.api_key
        keys = gateway.get_api_keys(nameQuery=name, includeValues=True)["items"]
        if not keys:
            return gateway.create_api_key(name=name, enabled=True)["value"]
        return keys[0]["value"]

    def api(self) -> None:
        """The API with its stage, and the plan that its key is used by."""
        gateway, live = self._context.client("apigateway"), self._live
        plans = gateway.get_usage_plans(limit=500)["items"]
        if any(plan["name"] == live.api_key for plan in plans):
            return
        for begun in self._apis():  # the plan is what is made last
            gateway.delete_rest_api(restApiId=begun["id"])
        api = gateway.create_rest_api(
            name=live.api,
            binaryMediaTypes=["*/*"],
            endpointConfiguration={"types": ["REGIONAL"]},
        )
        function = self._context.arn("lambda", f"function:{live.collector}")
        uri = (
            f"arn:aws:apigateway:{self._context.region}:lambda:path/2015-03-31/functions/"
            f"{function}/invocations"
        )
        resources = {
            path: gateway.create_resource(
                restApiId=api["id"], parentId=api["rootResourceId"], pathPart=path
            )["id"]
            for path in dict.fromkeys(path for path, _, _ in METHODS)
        }
        for path, method, needs_key in METHODS:
            place = {"restApiId": api["id"], "resourceId": resources[path], "httpMethod": method}
            gateway.put_method(**place, authorizationType="NONE", apiKeyRequired=needs_key)
            gateway.put_integration(
                **place, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri
            )
        for kind, headers in REFUSALS.items():
            gateway.put_gateway_response(
                restApiId=api["id"],
                responseType=kind,
                responseParameters={
                    f"gatewayresponse.header.{name}": value for name, value in headers.items()
                },
                responseTemplates=REFUSAL_TEMPLATES,
            )
        gateway.create_deployment(restApiId=api["id"], stageName=live.stage)
        plan = gateway.create_usage_plan(
            name=live.api_key,
            apiStages=[{"apiId": api["id"], "stage": live.stage}],
            throttle=THROTTLE,
        )
        keys = gateway.get_api_keys(nameQuery=live.api_key)["items"]
        gateway.create_usage_plan_key(
            usagePlanId=plan["id"], keyId=keys[0]["id"], keyType="API_KEY"
        )
