# Protected against deletion, in two regions, with longer retention and room to grow.
name_prefix             = "clickstream-prod"
is_protected            = true
raw_retention_days      = 1095
replay_window_days      = 400
result_retention_days   = 90
log_retention_days      = 731
kinesis_retention_hours = 720
kinesis_shard_count     = 8
glue_worker_count       = 10
athena_cutoff_gib       = 100
redshift_capacity       = { base = 32, max = 128, hours_per_day = 200 }
monthly_budget_usd      = 5000

# The access logs' buckets and the second region are the account's own: docs/deploy.md.
access_logs_bucket = "clickstream-prod-access-logs"
replica            = { region = "us-west-2", access_logs_bucket = "clickstream-prod-access-logs-replica" }

# The shop's pages. Never a page of somebody's own machine, as the default has.
live_path = { allowed_origins = ["https://shop.example"] }

mwaa = { environment_class = "mw1.medium", max_workers = 10 }
