# Amazon's Airflow (MWAA), when var.mwaa says so: its environment, its way out to package indexes and
# AWS's APIs, and what its machinery needs beside what the pipeline needs.

locals {
  mwaa_zones = var.mwaa == null ? [] : slice(local.zones, 0, 2)
}

resource "aws_internet_gateway" "this" {
  count = var.mwaa == null ? 0 : 1

  vpc_id = aws_vpc.this.id

  tags = { Name = var.name_prefix }
}

resource "aws_subnet" "public" {
  for_each = { for number, zone in local.mwaa_zones : zone => number }

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.vpc_cidr, 6, 60 + each.value)
  map_public_ip_on_launch = false

  tags = { Name = "${var.name_prefix}-public-${each.key}" }
}

resource "aws_route_table" "public" {
  count = var.mwaa == null ? 0 : 1

  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name_prefix}-public" }
}

resource "aws_route" "out" {
  count = var.mwaa == null ? 0 : 1

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_eip" "nat" {
  for_each = aws_subnet.public

  domain = "vpc"

  tags = { Name = "${var.name_prefix}-nat-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each = aws_subnet.public

  subnet_id     = each.value.id
  allocation_id = aws_eip.nat[each.key].id

  tags = { Name = "${var.name_prefix}-${each.key}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route" "nat" {
  for_each = aws_nat_gateway.this

  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = each.value.id
}

resource "aws_security_group" "mwaa" {
  count = var.mwaa == null ? 0 : 1

  name        = "${var.name_prefix}-mwaa"
  description = "Airflow's machines talk to one another, and out by TLS."
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name_prefix}-mwaa" }
}

resource "aws_vpc_security_group_ingress_rule" "mwaa" {
  count = var.mwaa == null ? 0 : 1

  security_group_id            = aws_security_group.mwaa[0].id
  description                  = "Airflow's own machines."
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.mwaa[0].id
}

resource "aws_vpc_security_group_egress_rule" "mwaa_own" {
  count = var.mwaa == null ? 0 : 1

  security_group_id            = aws_security_group.mwaa[0].id
  description                  = "Airflow's own machines."
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.mwaa[0].id
}

resource "aws_vpc_security_group_egress_rule" "mwaa_out" {
  count = var.mwaa == null ? 0 : 1

  security_group_id = aws_security_group.mwaa[0].id
  description       = "AWS's APIs and the package index, by TLS."
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_mwaa_environment" "this" {
  count = var.mwaa == null ? 0 : 1

  name                  = var.name_prefix
  airflow_version       = var.mwaa.airflow_version
  environment_class     = var.mwaa.environment_class
  max_workers           = var.mwaa.max_workers
  execution_role_arn    = aws_iam_role.airflow.arn
  kms_key               = aws_kms_key.data.arn
  webserver_access_mode = "PRIVATE_ONLY"

  source_bucket_arn    = module.buckets.arns.artifacts
  dag_s3_path          = "airflow/dags"
  plugins_s3_path      = "airflow/plugins.zip"
  requirements_s3_path = "airflow/requirements.txt"

  # The settings of output.environment, for the machines that run Airflow.
  startup_script_s3_path = aws_s3_object.startup[0].key

  network_configuration {
    security_group_ids = [aws_security_group.mwaa[0].id]
    subnet_ids         = [for zone in local.mwaa_zones : aws_subnet.private[zone].id]
  }

  logging_configuration {
    dag_processing_logs {
      enabled   = true
      log_level = "INFO"
    }

    scheduler_logs {
      enabled   = true
      log_level = "INFO"
    }

    task_logs {
      enabled   = true
      log_level = "INFO"
    }

    webserver_logs {
      enabled   = true
      log_level = "INFO"
    }

    worker_logs {
      enabled   = true
      log_level = "INFO"
    }
  }

  depends_on = [aws_iam_role_policy.mwaa, aws_route.nat, aws_s3_object.code]
}

resource "aws_s3_object" "startup" {
  count = var.mwaa == null ? 0 : 1

  bucket  = local.names.buckets.artifacts
  key     = "airflow/startup.sh"
  content = join("", [for name, value in merge(local.environment, { CLICKSTREAM_SQL_FOLDER = "/usr/local/airflow/dags/sql" }) : "export ${name}='${value}'\n"])

  depends_on = [module.buckets]
}

data "aws_iam_policy_document" "mwaa" {
  count = var.mwaa == null ? 0 : 1

  statement {
    sid       = "ReadCode"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${module.buckets.arns.artifacts}/airflow/*"]
  }

  statement {
    sid       = "ListCode"
    actions   = ["s3:GetBucketPublicAccessBlock", "s3:ListBucket"]
    resources = [module.buckets.arns.artifacts]
  }

  # S3 defines no narrower resource than the account for this action.
  statement {
    sid       = "AccountIsPrivate"
    actions   = ["s3:GetAccountPublicAccessBlock"]
    resources = ["*"]
  }

  statement {
    sid       = "Heartbeat"
    actions   = ["airflow:PublishMetrics"]
    resources = ["arn:aws:airflow:${var.region}:${var.account_id}:environment/${var.name_prefix}"]
  }

  statement {
    sid = "WriteLogs"
    actions = [
      "logs:CreateLogGroup",
      "logs:CreateLogStream",
      "logs:GetLogEvents",
      "logs:GetLogGroupFields",
      "logs:GetLogRecord",
      "logs:GetQueryResults",
      "logs:PutLogEvents",
    ]
    resources = ["arn:aws:logs:${var.region}:${var.account_id}:log-group:airflow-${var.name_prefix}-*"]
  }

  # CloudWatch defines no resource for these actions.
  statement {
    sid       = "WriteMetrics"
    actions   = ["cloudwatch:PutMetricData", "logs:DescribeLogGroups"]
    resources = ["*"]
  }

  # The queues between scheduler and workers are in an account of Amazon's.
  statement {
    sid = "TalkToWorkers"
    actions = [
      "sqs:ChangeMessageVisibility",
      "sqs:DeleteMessage",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ReceiveMessage",
      "sqs:SendMessage",
    ]
    resources = ["arn:aws:sqs:${var.region}:*:airflow-celery-*"]
  }
}

resource "aws_iam_role_policy" "mwaa" {
  count = var.mwaa == null ? 0 : 1

  name   = "run-airflow"
  role   = aws_iam_role.airflow.id
  policy = data.aws_iam_policy_document.mwaa[0].json
}
