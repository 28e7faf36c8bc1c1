# Five buckets as the smallest useful separation; a second set in the replica's region.

locals {
  buckets = {
    raw = {
      name            = local.names.buckets.raw
      noncurrent_days = 30
      expiration      = { (local.names.prefixes.raw) = var.raw_retention_days }
    }
    processed = {
      name            = local.names.buckets.processed
      noncurrent_days = 7
    }
    artifacts = {
      name            = local.names.buckets.artifacts
      noncurrent_days = 90
    }
    results = {
      name            = local.names.buckets.results
      noncurrent_days = 1
      expiration      = { (local.names.prefixes.athena_results) = var.result_retention_days }
    }
    errors = {
      name            = local.names.buckets.errors
      noncurrent_days = 7
      # A replay may need what was refused as long as it may need the raw events.
      expiration = { (local.names.prefixes.quarantine) = var.raw_retention_days }
    }
  }
}

module "buckets" {
  source = "./modules/buckets"

  buckets            = local.buckets
  key_arn            = aws_kms_key.data.arn
  access_logs_bucket = var.access_logs_bucket
  is_protected       = var.is_protected
  eraser_arn         = local.eraser_arn

  replication = var.replica == null ? null : {
    role_arn = aws_iam_role.replication[0].arn
    arns     = module.replica_buckets[0].versioned_arns
    key_arn  = aws_kms_replica_key.data[0].arn
  }
}

module "replica_buckets" {
  source = "./modules/buckets"
  count  = var.replica == null ? 0 : 1

  providers = { aws = aws.replica }

  buckets            = { for part, bucket in local.buckets : part => merge(bucket, { name = "${bucket.name}-replica" }) }
  key_arn            = aws_kms_replica_key.data[0].arn
  access_logs_bucket = var.replica.access_logs_bucket
  is_protected       = var.is_protected
  eraser_arn         = local.eraser_arn

  # Back too: what was written here while the first region was away returns to it.
  replication = {
    role_arn = aws_iam_role.replication[0].arn
    arns     = module.buckets.versioned_arns
    key_arn  = aws_kms_key.data.arn
  }
}

data "aws_iam_policy_document" "replication" {
  count = var.replica == null ? 0 : 1

  statement {
    sid       = "ReadConfiguration"
    actions   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
    resources = concat(values(module.buckets.arns), values(module.replica_buckets[0].arns))
  }

  statement {
    sid = "CopyObjects"
    actions = [
      "s3:GetObjectVersionAcl",
      "s3:GetObjectVersionForReplication",
      "s3:GetObjectVersionTagging",
      "s3:ReplicateDelete",
      "s3:ReplicateObject",
      "s3:ReplicateTags",
    ]
    resources = [for arn in concat(values(module.buckets.arns), values(module.replica_buckets[0].arns)) : "${arn}/*"]
  }

  statement {
    sid       = "ReencryptObjects"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn, aws_kms_replica_key.data[0].arn]
  }
}

resource "aws_iam_role" "replication" {
  count = var.replica == null ? 0 : 1

  name               = "${var.name_prefix}-replication"
  description        = "S3 copies the lake's objects between its two regions."
  assume_role_policy = data.aws_iam_policy_document.service_trust["replication"].json
}

resource "aws_iam_role_policy" "replication" {
  count = var.replica == null ? 0 : 1

  name   = "replicate"
  role   = aws_iam_role.replication[0].id
  policy = data.aws_iam_policy_document.replication[0].json
}
