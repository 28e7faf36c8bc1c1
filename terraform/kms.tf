# Two keys: whoever may read the data need not read the alarms, and the services that ring the
# alarms never need the data's key.

locals {
  # What the account may let its own people and roles do, by their IAM policies. In a key policy
  # this resource means the key it is attached to, and no other.
  key_resource = "arn:aws:kms:*:${var.account_id}:key/*"
  key_administration = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:CreateGrant",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ReplicateKey",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
    "kms:UpdatePrimaryRegion",
  ]
  key_use = [
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
  ]
  key_admin_and_use = concat(local.key_administration, local.key_use)
}

data "aws_iam_policy_document" "data_key" {
  statement {
    sid       = "AccountDecidesByIam"
    actions   = local.key_admin_and_use
    resources = [local.key_resource]

    principals {
      type        = "AWS"
      identifiers = [local.account_root]
    }
  }
}

data "aws_iam_policy_document" "operations_key" {
  source_policy_documents = [data.aws_iam_policy_document.data_key.json]

  statement {
    sid       = "LogGroupsOfThisEnvironment"
    actions   = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey"]
    resources = [local.key_resource]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:aws:logs:${var.region}:${var.account_id}:log-group:*"]
    }
  }

  statement {
    sid       = "AlarmsAndEvents"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [local.key_resource]

    principals {
      type        = "Service"
      identifiers = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com", "sns.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_kms_key" "data" {
  description             = "${var.name_prefix}: events, tables, results, warehouse"
  deletion_window_in_days = 30
  enable_key_rotation     = true
  multi_region            = true
  policy                  = data.aws_iam_policy_document.data_key.json
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.name_prefix}-data"
  target_key_id = aws_kms_key.data.key_id
}

resource "aws_kms_key" "operations" {
  description             = "${var.name_prefix}: logs, alarms, dead letters"
  deletion_window_in_days = 30
  enable_key_rotation     = true
  policy                  = data.aws_iam_policy_document.operations_key.json
}

resource "aws_kms_alias" "operations" {
  name          = "alias/${var.name_prefix}-operations"
  target_key_id = aws_kms_key.operations.key_id
}

resource "aws_kms_replica_key" "data" {
  provider = aws.replica
  count    = var.replica == null ? 0 : 1

  description             = "${var.name_prefix}: the replica's events, tables and results"
  deletion_window_in_days = 30
  primary_key_arn         = aws_kms_key.data.arn
  policy                  = data.aws_iam_policy_document.data_key.json
}
