locals {
  # The one file of names: Airflow's Config and the embedded AWS read it too.
  names = jsondecode(templatefile("${path.root}/../plugins/clickstream/names.json", {
    name_prefix = var.name_prefix
    account_id  = var.account_id
  }))

  tags = {
    Application = "clickstream"
    Environment = var.name_prefix
    ManagedBy   = "terraform"
  }

  s3_uris = { for bucket, name in local.names.buckets : bucket => "s3://${name}" }

  # One line for each place of the lake that a role may be given.
  raw_objects        = "${module.buckets.arns.raw}/${local.names.prefixes.raw}*"
  lake_objects       = "${module.buckets.arns.processed}/${local.names.prefixes.lake}*"
  quarantine_objects = "${module.buckets.arns.errors}/${local.names.prefixes.quarantine}*"
  script_objects     = "${module.buckets.arns.artifacts}/${local.names.prefixes.scripts}*"
  tombstone_objects  = "${module.buckets.arns.artifacts}/${local.names.prefixes.tombstones}*"
  erasure_objects    = "${module.buckets.arns.results}/${local.names.prefixes.erasures}*"

  # What Airflow's Config reads (.env.example).
  environment = {
    AWS_REGION              = var.region
    CLICKSTREAM_ACCOUNT_ID  = var.account_id
    CLICKSTREAM_NAME_PREFIX = var.name_prefix
    # Firehose's buffer must have landed before a scheduled run starts.
    CLICKSTREAM_DELIVERY_DELAY_SECONDS = tostring(var.firehose_interval_seconds + 300)
  }

  account_root = "arn:aws:iam::${var.account_id}:root"
}
