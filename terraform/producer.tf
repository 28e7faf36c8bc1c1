# Shops put their events with this role: tasks in ECS, or roles of their own.

data "aws_iam_policy_document" "producer_trust" {
  statement {
    sid     = "TasksOfThisAccount"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }

  dynamic "statement" {
    for_each = length(var.trusted_role_arns.producer) > 0 ? [1] : []

    content {
      sid     = "TrustedRoles"
      actions = ["sts:AssumeRole"]

      principals {
        type        = "AWS"
        identifiers = var.trusted_role_arns.producer
      }
    }
  }
}

data "aws_iam_policy_document" "producer" {
  statement {
    sid       = "PutEvents"
    actions   = ["firehose:DescribeDeliveryStream", "firehose:PutRecordBatch"]
    resources = [aws_kinesis_firehose_delivery_stream.this["direct"].arn]
  }
}

resource "aws_iam_role" "producer" {
  name               = local.names.roles.producer
  description        = "Shops put their events into the direct delivery stream."
  assume_role_policy = data.aws_iam_policy_document.producer_trust.json
}

resource "aws_iam_role_policy" "producer" {
  name   = "put-events"
  role   = aws_iam_role.producer.id
  policy = data.aws_iam_policy_document.producer.json
}
