# The live path's functions: one archive, four handlers. Each has a role of its own but the clock's,
# which does what the stream's does.

locals {
  live     = local.names.live
  code_key = "${local.names.prefixes.functions}lambdas.zip"

  watch_environment = {
    LIVE_TABLE             = local.live.table
    EVENT_BUS              = local.live.bus
    CART_ABANDONED_SECONDS = tostring(var.live_path.cart_abandoned_seconds)
    CURRENCY               = var.currency
    LONG_SESSION_SECONDS   = tostring(var.live_path.long_session_seconds)
  }

  functions = {
    collector = {
      handler     = "collector.handler.handle"
      description = "Takes events over HTTP and puts them on the stream."
      role_arn    = aws_iam_role.collector.arn
      timeout     = 25
      environment = {
        STREAM            = local.names.kinesis_stream
        ALLOWED_ORIGINS   = join(",", sort(var.live_path.allowed_origins))
        WRITE_KEYS_SHA256 = sha256(aws_api_gateway_api_key.browsers.value)
      }
    }
    stream = {
      handler     = "stream.handler.on_records"
      description = "Counts by the minute, keeps live sessions, finds key events."
      role_arn    = aws_iam_role.stream.arn
      timeout     = 60
      environment = local.watch_environment
    }
    clock = {
      handler     = "stream.handler.on_minute"
      description = "Looks each minute for abandoned carts and traffic that broke off."
      role_arn    = aws_iam_role.stream.arn
      timeout     = 60
      environment = local.watch_environment
    }
    react = {
      handler     = "react.handler.handle"
      description = "Sends one message for each key event."
      role_arn    = aws_iam_role.react.arn
      timeout     = 30
      environment = {
        STREAM             = local.names.kinesis_stream
        REACTIONS_TABLE    = local.live.reactions_table
        PURCHASE_TOPIC_ARN = aws_sns_topic.live["purchases_topic"].arn
        PUSH_TOPIC_ARN     = aws_sns_topic.live["push_topic"].arn
        ALERT_TOPIC_ARN    = aws_sns_topic.alerts.arn
      }
    }
  }
}

resource "aws_lambda_function" "this" {
  for_each = local.functions

  function_name                  = local.live[each.key]
  description                    = each.value.description
  role                           = each.value.role_arn
  handler                        = "lambdas.${each.value.handler}"
  runtime                        = "python3.13"
  architectures                  = ["arm64"]
  memory_size                    = 512
  timeout                        = each.value.timeout
  reserved_concurrent_executions = var.live_path.concurrency[each.key]
  s3_bucket                      = aws_s3_object.code[local.code_key].bucket
  s3_key                         = local.code_key
  source_code_hash               = filebase64sha256("${local.code_folder}/${local.code_key}")
  kms_key_arn                    = aws_kms_key.operations.arn

  environment {
    variables = each.value.environment
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters.arn
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.this["lambda_${each.key}"].name
  }

  tracing_config {
    mode = "Active"
  }

  depends_on = [aws_iam_role_policy.collector, aws_iam_role_policy.stream, aws_iam_role_policy.react]
}

# What every function needs to run: its log, its traces, its dead letters.
data "aws_iam_policy_document" "function" {
  for_each = { collector = ["collector"], stream = ["stream", "clock"], react = ["react"] }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for function in each.value : "${aws_cloudwatch_log_group.this["lambda_${function}"].arn}:*"]
  }

  # X-Ray defines no resource for these actions.
  statement {
    sid       = "WriteTraces"
    actions   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
    resources = ["*"]
  }

  statement {
    sid       = "LeaveDeadLetters"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }

  statement {
    sid       = "UseOperationsKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.operations.arn]
  }
}
