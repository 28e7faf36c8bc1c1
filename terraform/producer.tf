# Shops put their events with this role (trust.tf says who takes it on).

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
  assume_role_policy = data.aws_iam_policy_document.service_trust["producer"].json
}

resource "aws_iam_role_policy" "producer" {
  name   = "put-events"
  role   = aws_iam_role.producer.id
  policy = data.aws_iam_policy_document.producer.json
}
