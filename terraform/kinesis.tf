resource "aws_kinesis_stream" "events" {
  name             = local.names.kinesis_stream
  shard_count      = var.kinesis_shard_count
  retention_period = var.kinesis_retention_hours
  encryption_type  = "KMS"
  kms_key_id       = aws_kms_key.data.arn

  shard_level_metrics = ["IncomingBytes", "WriteProvisionedThroughputExceeded"]

  stream_mode_details {
    stream_mode = "PROVISIONED"
  }
}
