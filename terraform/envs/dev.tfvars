# A small environment that may be thrown away. Say your account: -var account_id=…, or
# TF_VAR_account_id, which `make deploy` sets from CLICKSTREAM_ACCOUNT_ID.
name_prefix               = "clickstream-dev"
is_protected              = false
raw_retention_days        = 90
replay_window_days        = 35
result_retention_days     = 7
firehose_interval_seconds = 60
monthly_budget_usd        = 200
