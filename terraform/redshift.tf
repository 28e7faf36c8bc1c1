resource "aws_redshiftserverless_namespace" "this" {
  namespace_name = local.names.redshift.namespace
  db_name        = local.names.redshift.database
  admin_username = "warehouse"

  # Redshift makes the administrator's password and keeps it in Secrets Manager: nobody types it.
  manage_admin_password            = true
  admin_password_secret_kms_key_id = aws_kms_key.data.arn

  kms_key_id           = aws_kms_key.data.arn
  iam_roles            = [aws_iam_role.redshift.arn]
  default_iam_role_arn = aws_iam_role.redshift.arn
  log_exports          = ["connectionlog", "useractivitylog", "userlog"]
}

resource "aws_redshiftserverless_workgroup" "this" {
  namespace_name       = aws_redshiftserverless_namespace.this.namespace_name
  workgroup_name       = local.names.redshift.workgroup
  base_capacity        = var.redshift_capacity.base
  max_capacity         = var.redshift_capacity.max
  publicly_accessible  = false
  enhanced_vpc_routing = true
  subnet_ids           = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids   = [aws_security_group.redshift.id]

  # All of them: AWS answers with its defaults too, and what is not said here would look changed.
  dynamic "config_parameter" {
    for_each = {
      auto_mv                          = "true"
      datestyle                        = "ISO, MDY"
      enable_case_sensitive_identifier = "false"
      enable_user_activity_logging     = "true"
      max_query_execution_time         = "3600"
      query_group                      = "default"
      require_ssl                      = "true"
      search_path                      = "$user, public"
      use_fips_ssl                     = "false"
    }

    content {
      parameter_key   = config_parameter.key
      parameter_value = config_parameter.value
    }
  }
}

resource "aws_redshiftserverless_usage_limit" "daily" {
  resource_arn  = aws_redshiftserverless_workgroup.this.arn
  usage_type    = "serverless-compute"
  amount        = var.redshift_capacity.hours_per_day
  period        = "daily"
  breach_action = "deactivate"
}

data "aws_iam_policy_document" "redshift" {
  statement {
    sid       = "ReadLake"
    actions   = ["s3:GetObject"]
    resources = [local.lake_objects]
  }

  statement {
    sid       = "ListBucket"
    actions   = ["s3:ListBucket"]
    resources = [module.buckets.arns.processed]
  }

  statement {
    sid       = "FindDatabase"
    actions   = ["glue:GetDatabase"]
    resources = [local.catalog, local.lake_database]
  }

  statement {
    sid       = "ReadCatalog"
    actions   = ["glue:GetPartitions", "glue:GetTable", "glue:GetTables"]
    resources = [local.catalog, local.lake_database, local.lake_tables]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.data.arn]
  }
}

resource "aws_iam_role" "redshift" {
  name               = local.names.roles.redshift
  description        = "Redshift Spectrum reads the lake through its catalog."
  assume_role_policy = data.aws_iam_policy_document.service_trust["redshift"].json
}

resource "aws_iam_role_policy" "redshift" {
  name   = "read-lake"
  role   = aws_iam_role.redshift.id
  policy = data.aws_iam_policy_document.redshift.json
}
