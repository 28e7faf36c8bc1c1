# Who may take on a role: an AWS service, for this account only; Airflow and the shops also as tasks
# in ECS, or from roles of your own (var.trusted_role_arns).

locals {
  trusted_services = {
    api_logs    = ["apigateway.amazonaws.com"]
    airflow     = ["airflow-env.amazonaws.com", "airflow.amazonaws.com", "ecs-tasks.amazonaws.com"]
    firehose    = ["firehose.amazonaws.com"]
    flow_logs   = ["vpc-flow-logs.amazonaws.com"]
    glue        = ["glue.amazonaws.com"]
    lambda      = ["lambda.amazonaws.com"]
    producer    = ["ecs-tasks.amazonaws.com"]
    redshift    = ["redshift-serverless.amazonaws.com", "redshift.amazonaws.com"]
    replication = ["s3.amazonaws.com"]
  }
}

data "aws_iam_policy_document" "service_trust" {
  for_each = local.trusted_services

  statement {
    sid     = "ServicesForThisAccount"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = each.value
    }

    # API Gateway's documented trust names no account: it takes on no other account's role anyway.
    dynamic "condition" {
      for_each = each.key == "api_logs" ? [] : [var.account_id]

      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [condition.value]
      }
    }
  }

  dynamic "statement" {
    for_each = length(lookup(var.trusted_role_arns, each.key, [])) > 0 ? [var.trusted_role_arns[each.key]] : []

    content {
      sid     = "TrustedRoles"
      actions = ["sts:AssumeRole"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }
}
