"""A REST API in front of a function, over HTTP as a browser's beacon reaches it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import EmbeddedAws
from tests.localaws.lambdas import ACCOUNT, admit, make_function, unique

#: Answers with the event it was given, or as the path says.
ECHO = """
import json, time

def handler(event, context):
    match event["path"]:
        case "/raise":
            raise ValueError("no")
        case "/malformed":
            return {"status": 200}
        case "/object":
            return {"statusCode": 200, "body": {"a": 1}}
    if event["httpMethod"] == "OPTIONS":
        return {"statusCode": 204, "headers": {"Access-Control-Allow-Origin": "https://shop"}}
    return {
        "statusCode": 202,
        "headers": {"X-Collector": "yes", "Content-Type": "application/json"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": json.dumps(event),
    }
"""
Answer = tuple[int, http.client.HTTPMessage, bytes]


class RestApi:
    """A deployed API whose every path is one function's; ``/guarded`` asks for a key."""

    stage = "live"

    def __init__(self, aws: EmbeddedAws, source: str = ECHO) -> None:
        self.aws, self.name = aws, unique("api")
        self.function = make_function(aws, source, Timeout=5)
        client = self.client = aws.client("apigateway")
        made = client.create_rest_api(
            name=self.name, binaryMediaTypes=["application/json"], apiKeySource="HEADER"
        )
        self.id = made["id"]
        (root,) = client.get_resources(restApiId=self.id)["items"]
        self.add(root["id"], "{proxy+}", "ANY")
        self.add(root["id"], "guarded", "POST", needs_key=True)
        visits = client.create_resource(restApiId=self.id, parentId=root["id"], pathPart="visits")
        self.add(visits["id"], "{visit}", "GET")
        client.put_gateway_response(
            restApiId=self.id,
            responseType="DEFAULT_4XX",
            responseParameters={"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"},
        )
        client.create_deployment(restApiId=self.id, stageName=self.stage)
        self.arn = f"arn:aws:execute-api:{aws.region}:{ACCOUNT}:{self.id}"
        admit(aws, self.function, "apigateway", f"{self.arn}/*/*")
        self.connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=60)

    def add(self, parent: str, part: str, method: str, needs_key: bool = False) -> None:
        made = self.client.create_resource(restApiId=self.id, parentId=parent, pathPart=part)
        place = {"restApiId": self.id, "resourceId": made["id"], "httpMethod": method}
        self.client.put_method(**place, authorizationType="NONE", apiKeyRequired=needs_key)
        path = f"2015-03-31/functions/{self.function}/invocations"
        self.client.put_integration(
            **place,
            type="AWS_PROXY",
            integrationHttpMethod="POST",
            uri=f"arn:aws:apigateway:{self.aws.region}:lambda:path/{path}",
        )

    def key(self, **plan: Any) -> str:
        """A key of a usage plan for this API; returns what a client sends."""
        key = self.client.create_api_key(name=unique("key"), enabled=True)
        made = self.client.create_usage_plan(
            name=unique("plan"), apiStages=[{"apiId": self.id, "stage": self.stage}], **plan
        )
        self.client.create_usage_plan_key(
            usagePlanId=made["id"], keyId=key["id"], keyType="API_KEY"
        )
        return str(key["value"])

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on the API's one connection."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        place = f"/_aws/execute-api/{self.id}/{self.stage}{path}"
        self.connection.request(method, place, body, given)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def echo(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """The event that the function was given."""
        status, _, answer = self.call(method, path, body, **headers)
        assert status == 202
        return json.loads(answer)


@pytest.fixture(scope="module")
def api(aws: EmbeddedAws) -> Iterator[RestApi]:
    made = RestApi(aws)
    yield made
    made.connection.close()


def test_the_function_is_told_of_the_request_and_its_answer_comes_back(api: RestApi) -> None:
    status, headers, body = api.call("GET", "/visits/a%20b?n=1&n=2&page=home", user_agent="beacon")
    event = json.loads(body)
    assert status == 202
    assert headers["X-Collector"] == "yes"
    assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert headers["Content-Type"] == "application/json"
    assert (event["resource"], event["path"]) == ("/visits/{visit}", "/visits/a b")
    assert event["pathParameters"] == {"visit": "a b"}
    assert event["queryStringParameters"]["page"] == "home"
    assert event["multiValueQueryStringParameters"] == {"n": ["1", "2"], "page": ["home"]}
    about = event["requestContext"]
    assert about["identity"]["sourceIp"] == "127.0.0.1"
    assert about["identity"]["userAgent"] == "beacon"
    assert (about["stage"], about["httpMethod"], about["apiId"]) == ("live", "GET", api.id)
    assert (event["body"], event["isBase64Encoded"]) == (None, False)


def test_a_gzip_body_of_a_binary_type_arrives_as_base64(api: RestApi) -> None:
    body = gzip.compress(b'[{"event": "view"}]')
    event = api.echo(
        "POST", "/collect", body, content_type="application/json", content_encoding="gzip"
    )
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body
    assert event["headers"]["content-encoding"] == "gzip"
    event = api.echo("POST", "/collect", b"hits=1", content_type="text/plain")
    assert (event["isBase64Encoded"], event["body"]) == (False, "hits=1")


def test_a_guarded_method_asks_for_a_key_of_a_usage_plan(api: RestApi) -> None:
    other = api.client.create_api_key(name=unique("key"), enabled=True)["value"]
    for headers in ({}, {"x_api_key": "wrong"}, {"x_api_key": other}):
        status, answered, body = api.call("POST", "/guarded", b"{}", **headers)
        assert (status, json.loads(body)) == (403, {"message": "Forbidden"})
        assert answered["x-amzn-ErrorType"] == "ForbiddenException"
        assert answered["Access-Control-Allow-Origin"] == "*"  # the API's gateway response
    key = api.key()
    event = api.echo("POST", "/guarded", b"{}", x_api_key=key)
    assert event["requestContext"]["identity"]["apiKey"] == key


def test_a_usage_plan_throttles_its_keys(api: RestApi) -> None:
    key, other = (api.key(throttle={"rateLimit": 0.1, "burstLimit": 2}) for _ in range(2))
    found = [api.call("POST", "/guarded", b"{}", x_api_key=key) for _ in range(3)]
    assert [status for status, _, _ in found] == [202, 202, 429]
    assert json.loads(found[-1][2]) == {"message": "Too Many Requests"}
    assert found[-1][1]["x-amzn-ErrorType"] == "TooManyRequestsException"
    assert found[-1][1]["Access-Control-Allow-Origin"] == "*"
    assert api.call("POST", "/guarded", b"{}", x_api_key=other)[0] == 202


def test_a_stages_method_settings_throttle_without_a_key(api: RestApi) -> None:
    operations = [
        {"op": "replace", "path": f"/~1{{proxy+}}/POST/throttling/{name}", "value": value}
        for name, value in (("rateLimit", "0.1"), ("burstLimit", "1"))
    ]
    api.client.update_stage(restApiId=api.id, stageName=api.stage, patchOperations=operations)
    found = [api.call("POST", "/throttled", b"{}")[0] for _ in range(3)]
    for operation in operations:
        operation["value"] = "10000"
    api.client.update_stage(restApiId=api.id, stageName=api.stage, patchOperations=operations)
    assert found == [202, 429, 429]


def test_the_function_answers_a_preflight(api: RestApi) -> None:
    status, headers, body = api.call("OPTIONS", "/collect", origin="https://shop")
    assert (status, body) == (204, b"")
    assert headers.get_all("Access-Control-Allow-Origin") == ["https://shop"]


@pytest.mark.parametrize("path", ["/raise", "/malformed", "/object"])
def test_a_function_that_fails_is_502(api: RestApi, path: str) -> None:
    status, _, body = api.call("POST", path, b"{}")
    assert (status, json.loads(body)) == (502, {"message": "Internal server error"})


def test_a_large_body_is_413(api: RestApi) -> None:
    status, headers, body = api.call("POST", "/collect", b"x" * (10 * 1024 * 1024 + 1))
    assert status == 413
    assert json.loads(body) == {"message": "HTTP content length exceeded 10485760 bytes."}
    assert headers["Access-Control-Allow-Origin"] == "*"
    status, _, _ = api.call("POST", "/collect", b"x" * 7_000_000, content_type="text/plain")
    assert status == 413  # more than a function takes
    assert api.call("POST", "/collect", b"x" * 5_000_000, content_type="text/plain")[0] == 202


def test_an_unknown_path_is_403_with_the_apis_headers(aws: EmbeddedAws, api: RestApi) -> None:
    status, headers, body = api.call("GET", "/guarded")
    assert status == 202  # the greedy path takes it
    status, headers, body = api.call("GET", "")
    assert (status, json.loads(body)) == (403, {"message": "Missing Authentication Token"})
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_a_function_that_does_not_let_the_api_in_is_500(aws: EmbeddedAws, api: RestApi) -> None:
    client = aws.client("lambda")
    policy = json.loads(client.get_policy(FunctionName=api.function)["Policy"])
    (statement,) = policy["Statement"]
    client.remove_permission(FunctionName=api.function, StatementId=statement["Sid"])
    status, _, body = api.call("POST", "/collect", b"{}")
    admit(aws, api.function, "apigateway", f"{api.arn}/*/*")
    assert (status, json.loads(body)) == (500, {"message": "Internal server error"})


def test_an_api_counts_its_requests_and_errors(aws: EmbeddedAws, api: RestApi) -> None:
    def count(metric: str) -> float:
        found = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/ApiGateway",
            MetricName=metric,
            Dimensions=[
                {"Name": "ApiName", "Value": api.name},
                {"Name": "Stage", "Value": api.stage},
            ],
            StartTime=datetime.now(UTC) - timedelta(minutes=10),
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in found)

    names = ("Count", "4XXError", "5XXError")
    before = [count(name) for name in names]
    for path in ("/collect", "/raise", ""):
        api.call("GET", path)
    assert [count(name) for name in names] == [before[0] + 3, before[1] + 1, before[2] + 1]
