# The embedded AWS of this machine (make terraform-local).
account_id                = "000000000000"
name_prefix               = "clickstream-dev"
is_embedded               = true
is_protected              = false
raw_retention_days        = 90
firehose_interval_seconds = 5
