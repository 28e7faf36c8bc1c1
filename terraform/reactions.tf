# From the stream to a message: the stream's function, what it keeps, its bus, and who reacts.

locals {
  # How long it is tried to hand an event to a function; the next minute asks what a clock's asked.
  patience = {
    react = { seconds = 3600, attempts = 10 }
    clock = { seconds = 300, attempts = 2 }
  }
}

resource "aws_dynamodb_table" "live" {
  name                        = local.live.table
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = var.is_protected

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "watch"
    type = "S"
  }

  attribute {
    name = "due_at"
    type = "N"
  }

  global_secondary_index {
    name            = "watch"
    hash_key        = "watch"
    range_key       = "due_at"
    projection_type = "ALL"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  # No longer than its rows are meant to live: it says who did what.
  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 1
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.data.arn
  }
}

resource "aws_dynamodb_table" "reactions" {
  name                        = local.live.reactions_table
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  deletion_protection_enabled = var.is_protected

  attribute {
    name = "id"
    type = "S"
  }

  ttl {
    attribute_name = "expiration"
    enabled        = true
  }

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 1
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.data.arn
  }
}

resource "aws_sqs_queue" "stream_failures" {
  name                              = local.live.failures_queue
  message_retention_seconds         = 14 * 24 * 3600
  kms_master_key_id                 = aws_kms_key.operations.arn
  kms_data_key_reuse_period_seconds = 300
}

resource "aws_sqs_queue_policy" "stream_failures" {
  queue_url = aws_sqs_queue.stream_failures.url
  policy    = data.aws_iam_policy_document.tls_only["stream_failures"].json
}

resource "aws_lambda_event_source_mapping" "stream" {
  function_name                  = aws_lambda_function.this["stream"].arn
  event_source_arn               = aws_kinesis_stream.events.arn
  starting_position              = "LATEST"
  batch_size                     = 500
  tumbling_window_in_seconds     = 60
  maximum_retry_attempts         = 10
  maximum_record_age_in_seconds  = 3600
  bisect_batch_on_function_error = true
  function_response_types        = ["ReportBatchItemFailures"]

  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.stream_failures.arn
    }
  }
}

resource "aws_cloudwatch_event_bus" "key_events" {
  name = local.live.bus
}

# Who may tell a key event; nobody of another account.
data "aws_iam_policy_document" "key_events" {
  statement {
    sid       = "TheStreamTells"
    actions   = ["events:PutEvents"]
    resources = [aws_cloudwatch_event_bus.key_events.arn]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.stream.arn]
    }
  }
}

resource "aws_cloudwatch_event_bus_policy" "key_events" {
  event_bus_name = aws_cloudwatch_event_bus.key_events.name
  policy         = data.aws_iam_policy_document.key_events.json
}

resource "aws_cloudwatch_event_rule" "react" {
  name           = local.live.react
  description    = "Every key event of the stream."
  event_bus_name = aws_cloudwatch_event_bus.key_events.name
  event_pattern  = jsonencode({ source = ["clickstream"] })
}

resource "aws_cloudwatch_event_target" "react" {
  rule           = aws_cloudwatch_event_rule.react.name
  event_bus_name = aws_cloudwatch_event_bus.key_events.name
  target_id      = "react"
  arn            = aws_lambda_function.this["react"].arn

  retry_policy {
    maximum_event_age_in_seconds = local.patience.react.seconds
    maximum_retry_attempts       = local.patience.react.attempts
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}

# What EventBridge hands over waits in Lambda's own queue; what fails to the end becomes a dead
# letter by the function's own setting. (A destination for failures beside it would leave a second one.)
resource "aws_lambda_function_event_invoke_config" "this" {
  for_each = local.patience

  function_name                = aws_lambda_function.this[each.key].function_name
  maximum_event_age_in_seconds = each.value.seconds
  maximum_retry_attempts       = 2
}

resource "aws_cloudwatch_event_rule" "clock" {
  name                = local.live.clock
  description         = "Each minute, for what happens by nothing happening."
  schedule_expression = "rate(1 minute)"
}

resource "aws_cloudwatch_event_target" "clock" {
  rule      = aws_cloudwatch_event_rule.clock.name
  target_id = "clock"
  arn       = aws_lambda_function.this["clock"].arn

  retry_policy {
    maximum_event_age_in_seconds = local.patience.clock.seconds
    maximum_retry_attempts       = local.patience.clock.attempts
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}

resource "aws_lambda_permission" "rules" {
  for_each = { react = aws_cloudwatch_event_rule.react.arn, clock = aws_cloudwatch_event_rule.clock.arn }

  statement_id  = "rule"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this[each.key].function_name
  principal     = "events.amazonaws.com"
  source_arn    = each.value
}

# Whom a reaction tells: the shop (purchases) and whatever sends messages to visitors (push).
resource "aws_sns_topic" "live" {
  for_each = toset(["purchases_topic", "push_topic"])

  name              = local.live[each.value]
  kms_master_key_id = aws_kms_key.operations.arn
}

resource "aws_sns_topic_policy" "live" {
  for_each = aws_sns_topic.live

  arn    = each.value.arn
  policy = data.aws_iam_policy_document.tls_only[each.key].json
}

data "aws_iam_policy_document" "stream" {
  source_policy_documents = [data.aws_iam_policy_document.function["stream"].json]

  statement {
    sid       = "ReadStream"
    actions   = ["kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    resources = [aws_kinesis_stream.events.arn]
  }

  statement {
    sid       = "KeepSessions"
    actions   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.live.arn]
  }

  statement {
    sid       = "FindCarts"
    actions   = ["dynamodb:Query"]
    resources = ["${aws_dynamodb_table.live.arn}/index/watch"]
  }

  statement {
    sid       = "TellKeyEvents"
    actions   = ["events:PutEvents"]
    resources = [aws_cloudwatch_event_bus.key_events.arn]
  }

  statement {
    sid       = "SetFailuresAside"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.stream_failures.arn]
  }

  statement {
    sid       = "UseDataKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }
}

resource "aws_iam_role" "stream" {
  name               = local.names.roles.stream
  description        = "The stream's functions read it, keep live sessions and tell key events."
  assume_role_policy = data.aws_iam_policy_document.service_trust["lambda"].json
}

resource "aws_iam_role_policy" "stream" {
  name   = "watch-stream"
  role   = aws_iam_role.stream.id
  policy = data.aws_iam_policy_document.stream.json
}

data "aws_iam_policy_document" "react" {
  source_policy_documents = [data.aws_iam_policy_document.function["react"].json]

  statement {
    sid       = "ReactOnce"
    actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    resources = [aws_dynamodb_table.reactions.arn]
  }

  statement {
    sid       = "TellPeople"
    actions   = ["sns:Publish"]
    resources = concat([aws_sns_topic.alerts.arn], [for topic in aws_sns_topic.live : topic.arn])
  }

  statement {
    sid       = "PutExposures"
    actions   = ["kinesis:PutRecord"]
    resources = [aws_kinesis_stream.events.arn]
  }

  statement {
    sid       = "UseDataKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }
}

resource "aws_iam_role" "react" {
  name               = local.names.roles.react
  description        = "The reactions send messages, once for each key event."
  assume_role_policy = data.aws_iam_policy_document.service_trust["lambda"].json
}

resource "aws_iam_role_policy" "react" {
  name   = "react"
  role   = aws_iam_role.react.id
  policy = data.aws_iam_policy_document.react.json
}
