# Whatever goes wrong ends in one topic. An event that cannot be told waits in the dead letters.

resource "aws_sns_topic" "alerts" {
  name              = local.names.live.alerts_topic
  kms_master_key_id = aws_kms_key.operations.arn
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.alert_emails

  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

# Nobody's message comes in plain HTTP.
data "aws_iam_policy_document" "tls_only" {
  for_each = merge(
    { for name, topic in merge(aws_sns_topic.live, { alerts = aws_sns_topic.alerts }) : name => ["sns:Publish", topic.arn] },
    {
      dead_letters    = ["sqs:*", aws_sqs_queue.dead_letters.arn]
      stream_failures = ["sqs:*", aws_sqs_queue.stream_failures.arn]
    },
  )

  statement {
    sid       = "DenyWithoutTls"
    effect    = "Deny"
    actions   = [each.value[0]]
    resources = [each.value[1]]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

data "aws_iam_policy_document" "alerts" {
  source_policy_documents = [data.aws_iam_policy_document.tls_only["alerts"].json]

  statement {
    sid       = "ServicesOfThisAccountTell"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alerts.arn]

    principals {
      type        = "Service"
      identifiers = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "alerts" {
  arn    = aws_sns_topic.alerts.arn
  policy = data.aws_iam_policy_document.alerts.json
}

resource "aws_sqs_queue" "dead_letters" {
  name                              = local.names.live.dead_letters_queue
  message_retention_seconds         = 14 * 24 * 3600
  kms_master_key_id                 = aws_kms_key.operations.arn
  kms_data_key_reuse_period_seconds = 300
}

data "aws_iam_policy_document" "dead_letters" {
  source_policy_documents = [data.aws_iam_policy_document.tls_only["dead_letters"].json]

  statement {
    sid       = "EventsThatCouldNotBeTold"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.url
  policy    = data.aws_iam_policy_document.dead_letters.json
}

locals {
  failures = {
    glue-job = {
      source      = "aws.glue"
      detail-type = "Glue Job State Change"
      detail      = { jobName = [for job in local.glue_jobs : job.name], state = ["FAILED", "TIMEOUT", "ERROR"] }
    }
    crawler = {
      source      = "aws.glue"
      detail-type = "Glue Crawler State Change"
      detail      = { crawlerName = [local.names.glue.crawler], state = ["Failed"] }
    }
    athena-query = {
      source      = "aws.athena"
      detail-type = "Athena Query State Change"
      detail      = { workgroupName = [local.names.athena.workgroup], currentState = ["FAILED"] }
    }
  }
}

resource "aws_cloudwatch_event_rule" "failure" {
  for_each = local.failures

  name        = "${var.name_prefix}-${each.key}-failed"
  description = "A failure that somebody must hear of."

  event_pattern = jsonencode({
    source      = [each.value.source]
    detail-type = [each.value.detail-type]
    detail      = each.value.detail
  })
}

resource "aws_cloudwatch_event_target" "failure" {
  for_each = aws_cloudwatch_event_rule.failure

  rule      = each.value.name
  target_id = "alerts"
  arn       = aws_sns_topic.alerts.arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 10
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}
