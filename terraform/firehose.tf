# Two delivery streams into one raw prefix: shops put records directly, browsers come by Kinesis.

locals {
  arrival_hour = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/hour=!{timestamp:HH}/"

  delivery_streams = {
    direct       = local.names.firehose.direct
    from_kinesis = local.names.firehose.from_kinesis
  }
}

resource "aws_kinesis_firehose_delivery_stream" "this" {
  for_each = local.delivery_streams

  name        = each.value
  destination = "extended_s3"

  dynamic "kinesis_source_configuration" {
    for_each = each.key == "from_kinesis" ? [aws_kinesis_stream.events.arn] : []

    content {
      kinesis_stream_arn = kinesis_source_configuration.value
      role_arn           = aws_iam_role.firehose.arn
    }
  }

  # A stream that reads from Kinesis is encrypted by Kinesis' own key.
  dynamic "server_side_encryption" {
    for_each = each.key == "direct" ? [aws_kms_key.data.arn] : []

    content {
      enabled  = true
      key_type = "CUSTOMER_MANAGED_CMK"
      key_arn  = server_side_encryption.value
    }
  }

  extended_s3_configuration {
    role_arn            = aws_iam_role.firehose.arn
    bucket_arn          = module.buckets.arns.raw
    prefix              = "${local.names.prefixes.raw}${local.arrival_hour}"
    error_output_prefix = "${local.names.prefixes.delivery_errors}!{firehose:error-output-type}/${local.arrival_hour}"
    buffering_size      = 64
    buffering_interval  = var.firehose_interval_seconds
    compression_format  = "GZIP"
    kms_key_arn         = aws_kms_key.data.arn

    cloudwatch_logging_options {
      enabled         = true
      log_group_name  = aws_cloudwatch_log_group.this["firehose"].name
      log_stream_name = aws_cloudwatch_log_stream.firehose[each.key].name
    }
  }

  # The role must be able to read Kinesis before the stream asks.
  depends_on = [aws_iam_role_policy.firehose]
}

resource "aws_cloudwatch_log_stream" "firehose" {
  for_each = local.delivery_streams

  name           = each.value
  log_group_name = aws_cloudwatch_log_group.this["firehose"].name
}

data "aws_iam_policy_document" "firehose" {
  statement {
    sid       = "DeliverObjects"
    actions   = ["s3:AbortMultipartUpload", "s3:PutObject"]
    resources = [local.raw_objects, "${module.buckets.arns.raw}/${local.names.prefixes.delivery_errors}*"]
  }

  statement {
    sid       = "FindBucket"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [module.buckets.arns.raw]
  }

  statement {
    sid       = "ReadStream"
    actions   = ["kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    resources = [aws_kinesis_stream.events.arn]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }

  statement {
    sid       = "WriteErrorLog"
    actions   = ["logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this["firehose"].arn}:log-stream:*"]
  }
}

resource "aws_iam_role" "firehose" {
  name               = local.names.roles.firehose
  description        = "Firehose reads the event stream and delivers raw objects."
  assume_role_policy = data.aws_iam_policy_document.service_trust["firehose"].json
}

resource "aws_iam_role_policy" "firehose" {
  name   = "deliver"
  role   = aws_iam_role.firehose.id
  policy = data.aws_iam_policy_document.firehose.json
}
