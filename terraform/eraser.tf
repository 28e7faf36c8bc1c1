# Erasing a person from every version of every object needs rights that nobody else has: they are
# this role's alone, and only its job has it.

locals {
  # By name: the buckets' policies exempt the role, and its policy names the buckets.
  eraser_arn = "arn:aws:iam::${var.account_id}:role/${local.names.roles.eraser}"

  erased_bucket_arns = concat(values(module.buckets.arns), flatten([for set in module.replica_buckets : values(set.arns)]))
  # Where a line or a row is replaced; elsewhere whole objects go.
  rewritten_objects = [
    local.raw_objects,
    "${module.buckets.arns.raw}/${local.names.prefixes.delivery_errors}*",
    local.lake_objects,
    local.quarantine_objects,
  ]
}

# Made once: another salt would void every tombstone.
resource "aws_s3_object" "salt" {
  bucket  = local.names.buckets.artifacts
  key     = "${local.names.prefixes.tombstones}salt"
  content = sha256("${uuid()}${uuid()}")

  depends_on = [module.buckets]

  lifecycle {
    ignore_changes = [content]
  }
}

data "aws_iam_policy_document" "eraser" {
  statement {
    sid       = "ListVersions"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = local.erased_bucket_arns
  }

  statement {
    sid       = "ReadEveryVersion"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = [for arn in local.erased_bucket_arns : "${arn}/*"]
  }

  statement {
    sid       = "ReplaceLinesAndRows"
    actions   = ["s3:PutObject"]
    resources = concat(local.rewritten_objects, [for arn in flatten([for set in module.replica_buckets : values(set.arns)]) : "${arn}/*"])
  }

  # Not of the artifacts: what stands in code is told, and stays.
  statement {
    sid       = "DeleteVersions"
    actions   = ["s3:DeleteObjectVersion"]
    resources = [for arn in local.erased_bucket_arns : "${arn}/*" if !strcontains(arn, "-artifacts-")]
  }

  statement {
    sid       = "RememberByDigest"
    actions   = ["s3:PutObject"]
    resources = [local.tombstone_objects, local.erasure_objects]
  }

  statement {
    sid       = "UseKeys"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = concat([aws_kms_key.data.arn], aws_kms_replica_key.data[*].arn)
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:AssociateKmsKey", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in ["glue_output", "glue_error"] : "${aws_cloudwatch_log_group.this[group].arn}:*"]
  }

  # CloudWatch defines no resource for this action.
  statement {
    sid       = "WriteMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["Glue"]
    }
  }
}

resource "aws_iam_role" "eraser" {
  name               = local.names.roles.eraser
  description        = "The erasing job reads, rewrites and deletes every version of what holds a person."
  assume_role_policy = data.aws_iam_policy_document.service_trust["glue"].json
}

resource "aws_iam_role_policy" "eraser" {
  name   = "erase-user"
  role   = aws_iam_role.eraser.id
  policy = data.aws_iam_policy_document.eraser.json
}
