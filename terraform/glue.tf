# The catalog's databases, the jobs and the crawler. The tables are sql/: `make deploy` runs it, the
# crawler adds what is new (docs/adr/0004).

locals {
  glue_arn = "arn:aws:glue:${var.region}:${var.account_id}"

  catalog       = "${local.glue_arn}:catalog"
  lake_database = "${local.glue_arn}:database/${local.names.glue.database}"
  lake_tables   = "${local.glue_arn}:table/${local.names.glue.database}/*"
  raw_database  = "${local.glue_arn}:database/${local.names.glue.raw_database}"
  raw_tables    = "${local.glue_arn}:table/${local.names.glue.raw_database}/*"
  glue_scripts  = "${local.s3_uris.artifacts}/${local.names.prefixes.scripts}"
  lake_uri      = "${local.s3_uris.processed}/${local.names.prefixes.lake}"
  # By the name of the script; role_arn and timeout where they are not the clean job's.
  glue_jobs = {
    clean_events = {
      name        = local.names.glue.clean_job
      description = "Cleans one interval of raw events; Airflow starts it."
      arguments = {
        "--lake-path"       = local.lake_uri
        "--raw-path"        = "${local.s3_uris.raw}/${local.names.prefixes.raw}"
        "--quarantine-path" = "${local.s3_uris.errors}/${local.names.prefixes.quarantine}"
        "--tombstones-path" = "${local.s3_uris.artifacts}/${local.names.prefixes.tombstones}"
      }
    }
    build_model = {
      name        = local.names.glue.model_job
      description = "Builds sessions, dimensions and marts of the days that an interval touched; Airflow starts it."
      arguments = {
        "--lake-path"  = local.lake_uri
        "--site-hosts" = join(",", var.site_hosts)
        "--currency"   = var.currency
      }
    }
    compact_lake = {
      name        = local.names.glue.compact_job
      description = "Rewrites the lake's small files into few, without a changed row; Airflow starts it."
      arguments = {
        "--lake-path"       = local.lake_uri
        "--quarantine-path" = "${local.s3_uris.errors}/${local.names.prefixes.quarantine}"
      }
    }
    erase_user = {
      name        = local.names.glue.erase_job
      description = "Erases one person, or proves that he is gone; Airflow starts it."
      role_arn    = aws_iam_role.eraser.arn
      timeout     = 24 * 60
      arguments = merge(
        {
          "--buckets"                = join(",", [for part, name in local.names.buckets : "${part}=${name}"])
          "--region"                 = var.region
          "--raw-prefix"             = local.names.prefixes.raw
          "--delivery-errors-prefix" = local.names.prefixes.delivery_errors
          "--tombstones-prefix"      = local.names.prefixes.tombstones
          "--erasures-prefix"        = local.names.prefixes.erasures
        },
        var.replica == null ? {} : { "--replica-region" = var.replica.region },
      )
    }
  }
  lake_locations = [
    "${local.lake_uri}fact_clicks/",
    "${local.lake_uri}pipeline_runs/",
    "${local.s3_uris.errors}/${local.names.prefixes.quarantine}",
  ]
}

resource "aws_glue_catalog_database" "this" {
  for_each = toset([local.names.glue.raw_database, local.names.glue.database])

  name = each.value
}

resource "aws_glue_security_configuration" "this" {
  name = var.name_prefix

  encryption_configuration {
    cloudwatch_encryption {
      cloudwatch_encryption_mode = "SSE-KMS"
      kms_key_arn                = aws_kms_key.operations.arn
    }

    job_bookmarks_encryption {
      job_bookmarks_encryption_mode = "CSE-KMS"
      kms_key_arn                   = aws_kms_key.data.arn
    }

    s3_encryption {
      s3_encryption_mode = "SSE-KMS"
      kms_key_arn        = aws_kms_key.data.arn
    }
  }
}

resource "aws_glue_job" "this" {
  for_each = local.glue_jobs

  name                   = each.value.name
  description            = each.value.description
  role_arn               = lookup(each.value, "role_arn", aws_iam_role.glue.arn)
  glue_version           = "5.1"
  worker_type            = "G.1X"
  number_of_workers      = var.glue_worker_count
  timeout                = lookup(each.value, "timeout", 60)
  max_retries            = 0
  security_configuration = aws_glue_security_configuration.this.name

  command {
    name            = "glueetl"
    python_version  = "3"
    script_location = "${local.glue_scripts}${each.key}.py"
  }

  default_arguments = merge(each.value.arguments, {
    "--extra-py-files"         = "${local.glue_scripts}clickstream_glue.zip,${local.glue_scripts}libraries.zip"
    "--custom-logGroup-prefix" = local.names.glue.log_group_prefix
    "--enable-metrics"         = "true"
  })

  # Two runs at once would rewrite the same partitions.
  execution_property {
    max_concurrent_runs = 1
  }

  depends_on = [aws_iam_role_policy.glue, aws_iam_role_policy.eraser]
}

resource "aws_glue_crawler" "lake" {
  name                   = local.names.glue.crawler
  description            = "Adds new partitions and columns; takes nothing away."
  role                   = aws_iam_role.crawler.arn
  database_name          = aws_glue_catalog_database.this[local.names.glue.database].name
  security_configuration = aws_glue_security_configuration.this.name

  dynamic "s3_target" {
    for_each = local.lake_locations

    content {
      path = s3_target.value
    }
  }

  schema_change_policy {
    update_behavior = "UPDATE_IN_DATABASE"
    delete_behavior = "LOG"
  }

  configuration = jsonencode({
    Version = 1
    CrawlerOutput = {
      Tables     = { AddOrUpdateBehavior = "MergeNewColumns" }
      Partitions = { AddOrUpdateBehavior = "InheritFromTable" }
    }
  })

  depends_on = [aws_iam_role_policy.crawler]
}

data "aws_iam_policy_document" "glue" {
  statement {
    sid       = "ReadScriptsAndRawEvents"
    actions   = ["s3:GetObject"]
    resources = [local.script_objects, local.raw_objects, local.tombstone_objects]
  }

  statement {
    sid       = "RebuildHours"
    actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = [local.lake_objects, local.quarantine_objects]
  }

  statement {
    sid       = "ListBuckets"
    actions   = ["s3:ListBucket"]
    resources = [for part in ["artifacts", "errors", "processed", "raw"] : module.buckets.arns[part]]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
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

resource "aws_iam_role" "glue" {
  name               = local.names.roles.glue
  description        = "The clean job reads raw events and rebuilds hours of the lake."
  assume_role_policy = data.aws_iam_policy_document.service_trust["glue"].json
}

resource "aws_iam_role_policy" "glue" {
  name   = "clean-events"
  role   = aws_iam_role.glue.id
  policy = data.aws_iam_policy_document.glue.json
}

data "aws_iam_policy_document" "crawler" {
  statement {
    sid       = "ReadLake"
    actions   = ["s3:GetObject"]
    resources = [local.lake_objects, local.quarantine_objects]
  }

  statement {
    sid       = "ListBuckets"
    actions   = ["s3:ListBucket"]
    resources = [module.buckets.arns.processed, module.buckets.arns.errors]
  }

  statement {
    sid       = "FindDatabase"
    actions   = ["glue:GetDatabase"]
    resources = [local.catalog, local.lake_database]
  }

  statement {
    sid = "AddToCatalog"
    actions = [
      "glue:BatchCreatePartition",
      "glue:BatchGetPartition",
      "glue:GetPartitions",
      "glue:GetTable",
      "glue:UpdateTable",
    ]
    resources = [local.catalog, local.lake_database, local.lake_tables]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.data.arn]
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:AssociateKmsKey", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this["crawler"].arn}:*"]
  }
}

resource "aws_iam_role" "crawler" {
  name               = local.names.roles.crawler
  description        = "The crawler reads the lake and adds to its catalog."
  assume_role_policy = data.aws_iam_policy_document.service_trust["glue"].json
}

resource "aws_iam_role_policy" "crawler" {
  name   = "crawl-lake"
  role   = aws_iam_role.crawler.id
  policy = data.aws_iam_policy_document.crawler.json
}
