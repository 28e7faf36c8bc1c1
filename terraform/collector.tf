# Browsers send events to this API; the key and the throttle are API Gateway's, the rest the function's.

locals {
  # Whether API Gateway asks for the key: a beacon cannot send a header and brings it as a parameter.
  methods = {
    "POST events"    = { path = "events", method = "POST", needs_key = true }
    "OPTIONS events" = { path = "events", method = "OPTIONS", needs_key = false }
    "POST beacon"    = { path = "beacon", method = "POST", needs_key = false }
    "OPTIONS beacon" = { path = "beacon", method = "OPTIONS", needs_key = false }
    "GET health"     = { path = "health", method = "GET", needs_key = false }
  }

  # What API Gateway answers itself. A page may read why, whatever its origin: there is nothing else in it.
  refusal = { Access-Control-Allow-Origin = "'*'" }
  try_again = merge(local.refusal, {
    Access-Control-Expose-Headers = "'Retry-After'"
    Retry-After                   = "'2'"
  })
  refusals = { DEFAULT_4XX = local.refusal, DEFAULT_5XX = local.try_again, THROTTLED = local.try_again }

  throttle = {
    rate = var.live_path.requests_per_second
    # 5000 is an account's quota.
    burst = min(2 * var.live_path.requests_per_second, 5000)
  }
}

resource "aws_api_gateway_rest_api" "collector" {
  name               = local.live.api
  description        = "Takes events from browsers."
  binary_media_types = ["*/*"]

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_resource" "collector" {
  for_each = toset([for method in local.methods : method.path])

  rest_api_id = aws_api_gateway_rest_api.collector.id
  parent_id   = aws_api_gateway_rest_api.collector.root_resource_id
  path_part   = each.value
}

resource "aws_api_gateway_method" "collector" {
  for_each = local.methods

  rest_api_id      = aws_api_gateway_rest_api.collector.id
  resource_id      = aws_api_gateway_resource.collector[each.value.path].id
  http_method      = each.value.method
  authorization    = "NONE"
  api_key_required = each.value.needs_key
}

resource "aws_api_gateway_integration" "collector" {
  for_each = local.methods

  rest_api_id             = aws_api_gateway_rest_api.collector.id
  resource_id             = aws_api_gateway_resource.collector[each.value.path].id
  http_method             = aws_api_gateway_method.collector[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = aws_lambda_function.this["collector"].invoke_arn
}

resource "aws_api_gateway_gateway_response" "refused" {
  for_each = local.refusals

  rest_api_id         = aws_api_gateway_rest_api.collector.id
  response_type       = each.key
  status_code         = each.key == "THROTTLED" ? "429" : null # the others are families of codes
  response_parameters = { for header, value in each.value : "gatewayresponse.header.${header}" => value }

  # What API Gateway puts here where nothing is said.
  response_templates = { "application/json" = "{\"message\":$context.error.messageString}" }
}

resource "aws_api_gateway_deployment" "collector" {
  rest_api_id = aws_api_gateway_rest_api.collector.id

  # What a stage serves is the last deployment: all that one is made of, and nothing that changes by itself.
  triggers = {
    api = sha256(jsonencode([
      local.methods,
      local.refusals,
      aws_api_gateway_rest_api.collector.binary_media_types,
      aws_lambda_function.this["collector"].invoke_arn,
    ]))
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [aws_api_gateway_integration.collector, aws_api_gateway_gateway_response.refused]
}

resource "aws_api_gateway_stage" "collector" {
  rest_api_id          = aws_api_gateway_rest_api.collector.id
  deployment_id        = aws_api_gateway_deployment.collector.id
  stage_name           = local.live.stage
  xray_tracing_enabled = true

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.this["api"].arn
    # Neither the visitor's address nor the key, which a beacon has in its query.
    format = jsonencode({
      request = "$context.requestId"
      at      = "$context.requestTime"
      method  = "$context.httpMethod"
      path    = "$context.resourcePath"
      status  = "$context.status"
      bytes   = "$context.responseLength"
      millis  = "$context.responseLatency"
      error   = "$context.error.message"
    })
  }

  depends_on = [aws_api_gateway_account.this]
}

resource "aws_api_gateway_method_settings" "collector" {
  rest_api_id = aws_api_gateway_rest_api.collector.id
  stage_name  = aws_api_gateway_stage.collector.stage_name
  method_path = "*/*"

  settings {
    metrics_enabled        = true
    logging_level          = "ERROR"
    data_trace_enabled     = false # it would log whole events
    throttling_rate_limit  = local.throttle.rate
    throttling_burst_limit = local.throttle.burst
  }
}

# It opens nothing but the way in, and every visitor's browser knows it.
resource "aws_api_gateway_api_key" "browsers" {
  name        = local.live.api_key
  description = "The shop's pages send this key with their events."
}

resource "aws_api_gateway_usage_plan" "browsers" {
  name = local.live.api_key

  api_stages {
    api_id = aws_api_gateway_rest_api.collector.id
    stage  = aws_api_gateway_stage.collector.stage_name
  }

  throttle_settings {
    rate_limit  = local.throttle.rate
    burst_limit = local.throttle.burst
  }
}

resource "aws_api_gateway_usage_plan_key" "browsers" {
  usage_plan_id = aws_api_gateway_usage_plan.browsers.id
  key_id        = aws_api_gateway_api_key.browsers.id
  key_type      = "API_KEY"
}

resource "aws_lambda_permission" "collector" {
  statement_id  = "api"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this["collector"].function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.collector.execution_arn}/${aws_api_gateway_stage.collector.stage_name}/*"
}

# API Gateway writes its logs with one role for the account and region: one environment sets it.
resource "aws_iam_role" "api_logs" {
  count = var.sets_api_gateway_account ? 1 : 0

  name               = "${var.name_prefix}-api-logs"
  description        = "API Gateway writes its access and error logs."
  assume_role_policy = data.aws_iam_policy_document.service_trust["api_logs"].json
}

resource "aws_iam_role_policy_attachment" "api_logs" {
  count = var.sets_api_gateway_account ? 1 : 0

  role       = aws_iam_role.api_logs[0].name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

resource "aws_api_gateway_account" "this" {
  count = var.sets_api_gateway_account ? 1 : 0

  cloudwatch_role_arn = aws_iam_role.api_logs[0].arn

  depends_on = [aws_iam_role_policy_attachment.api_logs]
}

data "aws_iam_policy_document" "collector" {
  source_policy_documents = [data.aws_iam_policy_document.function["collector"].json]

  statement {
    sid       = "PutEvents"
    actions   = ["kinesis:DescribeStreamSummary", "kinesis:PutRecords"]
    resources = [aws_kinesis_stream.events.arn]
  }

  statement {
    sid       = "UseDataKey"
    actions   = ["kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }
}

resource "aws_iam_role" "collector" {
  name               = local.names.roles.collector
  description        = "The collector puts events on the stream."
  assume_role_policy = data.aws_iam_policy_document.service_trust["lambda"].json
}

resource "aws_iam_role_policy" "collector" {
  name   = "collect"
  role   = aws_iam_role.collector.id
  policy = data.aws_iam_policy_document.collector.json
}
