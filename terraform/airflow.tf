# What Airflow may do, wherever it runs: Amazon's (mwaa.tf), tasks in ECS, or a server whose role is
# trusted.

locals {
  athena_workgroup = "arn:aws:athena:${var.region}:${var.account_id}:workgroup/${local.names.athena.workgroup}"
}

data "aws_iam_policy_document" "airflow" {
  statement {
    sid       = "WaitForRawEvents"
    actions   = ["s3:ListBucket"]
    resources = [module.buckets.arns.raw]
  }

  statement {
    sid       = "StartJobs"
    actions   = ["glue:GetJob", "glue:GetJobRun", "glue:GetJobRuns", "glue:StartJobRun"]
    resources = [for job in concat(values(local.glue_jobs)[*].name, [local.names.glue.erase_job]) : "${local.glue_arn}:job/${job}"]
  }

  statement {
    sid       = "StartCrawler"
    actions   = ["glue:GetCrawler", "glue:StartCrawler"]
    resources = ["${local.glue_arn}:crawler/${local.names.glue.crawler}"]
  }

  statement {
    sid = "AskAthena"
    actions = [
      "athena:GetQueryExecution",
      "athena:GetQueryResults",
      "athena:StartQueryExecution",
      "athena:StopQueryExecution",
    ]
    resources = [local.athena_workgroup]
  }

  # Athena reads the lake, its catalog and writes results with its caller's rights.
  statement {
    sid       = "FindDatabases"
    actions   = ["glue:GetDatabase"]
    resources = [local.catalog, local.lake_database, local.raw_database]
  }

  statement {
    sid       = "RepairPartitions"
    actions   = ["glue:BatchCreatePartition", "glue:GetPartitions", "glue:GetTable"]
    resources = [local.catalog, local.lake_database, local.lake_tables, local.raw_database, local.raw_tables]
  }

  statement {
    sid       = "CheckPartitions"
    actions   = ["glue:BatchGetPartition"]
    resources = [local.catalog, local.lake_database, local.lake_tables]
  }

  statement {
    sid       = "ReadLakeAndCountRawEvents"
    actions   = ["s3:GetObject"]
    resources = [local.raw_objects, local.lake_objects, local.quarantine_objects]
  }

  statement {
    sid       = "ListLake"
    actions   = ["s3:ListBucket"]
    resources = [module.buckets.arns.processed, module.buckets.arns.errors]
  }

  statement {
    sid       = "KeepResults"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${module.buckets.arns.results}/${local.names.prefixes.athena_results}*", "${module.buckets.arns.results}/${local.names.prefixes.quality}*"]
  }

  # An id becomes a digest before it leaves Airflow.
  statement {
    sid       = "NameErasedUsersByDigest"
    actions   = ["s3:GetObject"]
    resources = [local.tombstone_objects]
  }

  statement {
    sid       = "KeepProofsOfErasure"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [local.erasure_objects]
  }

  statement {
    sid       = "FindResults"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket"]
    resources = [module.buckets.arns.results]
  }

  # What S3 does by itself: clickstream_maintenance reads the same rules, and finds little to do.
  statement {
    sid       = "FindWhatIsOver"
    actions   = ["s3:GetLifecycleConfiguration", "s3:ListBucketMultipartUploads", "s3:ListBucketVersions"]
    resources = [for part in ["processed", "results", "errors"] : module.buckets.arns[part]]
  }

  statement {
    sid       = "DeleteWhatIsOver"
    actions   = ["s3:AbortMultipartUpload", "s3:DeleteObjectVersion"]
    resources = [for part in ["processed", "results", "errors"] : "${module.buckets.arns[part]}/*"]
  }

  statement {
    sid       = "DeleteOldResults"
    actions   = ["s3:DeleteObject"]
    resources = ["${module.buckets.arns.results}/${local.names.prefixes.athena_results}*", local.quarantine_objects]
  }

  statement {
    sid       = "LoadWarehouse"
    actions   = ["redshift-data:BatchExecuteStatement", "redshift-data:ExecuteStatement", "redshift-serverless:GetCredentials"]
    resources = [aws_redshiftserverless_workgroup.this.arn]
  }

  # Redshift's Data API defines no resource for these: a statement belongs to who sent it.
  statement {
    sid       = "FollowStatements"
    actions   = ["redshift-data:CancelStatement", "redshift-data:DescribeStatement", "redshift-data:GetStatementResult"]
    resources = ["*"]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }
}

resource "aws_iam_role" "airflow" {
  name               = local.names.roles.airflow
  description        = "Airflow starts jobs, crawlers and queries, and loads the warehouse."
  assume_role_policy = data.aws_iam_policy_document.service_trust["airflow"].json
}

resource "aws_iam_role_policy" "airflow" {
  name   = "run-pipeline"
  role   = aws_iam_role.airflow.id
  policy = data.aws_iam_policy_document.airflow.json
}
