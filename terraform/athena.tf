resource "aws_athena_workgroup" "this" {
  name        = local.names.athena.workgroup
  description = "Where results go and how much a query may scan is decided here, not by who asks."

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.athena_cutoff_gib * pow(1024, 3)

    engine_version {
      selected_engine_version = "Athena engine version 3"
    }

    result_configuration {
      output_location       = "${local.s3_uris.results}/${local.names.prefixes.athena_results}"
      expected_bucket_owner = var.account_id

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = aws_kms_key.data.arn
      }
    }
  }

  # With the queries and their history: what they asked lies in sql/.
  force_destroy = true
}

locals {
  # sql/analytics/ is Jinja: names and currency are filled in here, dates become Athena's parameters.
  questions = { for file in fileset("${path.root}/../sql/analytics", "*.sql") :
    trimsuffix(file, ".sql") => file("${path.root}/../sql/analytics/${file}")
  }
}

resource "aws_athena_named_query" "question" {
  for_each = local.questions

  name        = each.key
  description = trimsuffix(regex("-- What: +(.*)\n", each.value)[0], ".")
  workgroup   = aws_athena_workgroup.this.id
  database    = aws_glue_catalog_database.this[local.names.glue.database].name

  query = replace(replace(replace(replace(each.value,
    "/(?m)^--.*\n/", ""),
    "{{ names.glue.database }}", local.names.glue.database),
    "{{ currency }}", var.currency),
  "/'?\\{\\{ [^}]* \\}\\}'?/", "?")
}
