# Bad settings are refused with a sentence, before anything is asked of AWS.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "aws" {
  alias           = "replica"
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  account_id  = "111122223333"
  name_prefix = "clickstream-test"
}

run "an_account_has_twelve_digits" {
  command = plan
  variables { account_id = "1234" }
  expect_failures = [var.account_id]
}

run "a_region_must_exist" {
  command = plan
  variables { region = "moon-1" }
  expect_failures = [var.region]
}

run "a_prefix_starts_bucket_names" {
  command = plan
  variables { name_prefix = "Click_Stream" }
  expect_failures = [var.name_prefix]
}

run "a_prefix_leaves_room_for_the_rest" {
  command = plan
  variables { name_prefix = "clickstream-of-an-environment-with-a-long-name" }
  expect_failures = [var.name_prefix]
}

run "a_network_is_private" {
  command = plan
  variables { vpc_cidr = "8.8.0.0/20" }
  expect_failures = [var.vpc_cidr]
}

run "a_network_is_a_range" {
  command = plan
  variables { vpc_cidr = "10.20.0.0" }
  expect_failures = [var.vpc_cidr]
}

run "a_network_has_room" {
  command = plan
  variables { vpc_cidr = "10.20.0.0/28" }
  expect_failures = [var.vpc_cidr]
}

run "alerts_go_to_addresses" {
  command = plan
  variables { alert_emails = ["oncall"] }
  expect_failures = [var.alert_emails]
}

run "raw_events_outlive_the_replay_window" {
  command = plan
  variables {
    raw_retention_days = 30
    replay_window_days = 90
  }
  expect_failures = [var.raw_retention_days]
}

run "logs_are_kept_a_year" {
  command = plan
  variables { log_retention_days = 30 }
  expect_failures = [var.log_retention_days]
}

run "the_stream_keeps_a_week" {
  command = plan
  variables { kinesis_retention_hours = 24 }
  expect_failures = [var.kinesis_retention_hours]
}

run "firehose_holds_back_a_quarter_of_an_hour_at_most" {
  command = plan
  variables { firehose_interval_seconds = 3600 }
  expect_failures = [var.firehose_interval_seconds]
}

run "the_warehouse_asks_for_three_zones" {
  command = plan
  variables { zones = ["a", "b"] }
  expect_failures = [var.zones]
}

run "a_replica_is_in_another_region" {
  command = plan
  variables { replica = { region = "us-east-1" } }
  expect_failures = [var.replica]
}

run "trusted_roles_are_arns" {
  command = plan
  variables { trusted_role_arns = { airflow = ["airflow-server"] } }
  expect_failures = [var.trusted_role_arns]
}

run "origins_have_no_path" {
  command = plan
  variables { live_path = { allowed_origins = ["https://shop.example/"] } }
  expect_failures = [var.live_path]
}

run "origins_are_no_wildcards" {
  command = plan
  variables { live_path = { allowed_origins = ["*"] } }
  expect_failures = [var.live_path]
}

run "shops_are_on_https" {
  command = plan
  variables { live_path = { allowed_origins = ["http://shop.example"] } }
  expect_failures = [var.live_path]
}

run "requests_stay_below_api_gateways_quota" {
  command = plan
  variables { live_path = { requests_per_second = 20000 } }
  expect_failures = [var.live_path]
}

run "an_office_shares_an_address" {
  command = plan
  variables { live_path = { requests_per_address = 10 } }
  expect_failures = [var.live_path]
}

run "carts_are_abandoned_within_a_day" {
  command = plan
  variables { live_path = { cart_abandoned_seconds = 100000 } }
  expect_failures = [var.live_path]
}

run "seconds_are_whole" {
  command = plan
  variables { live_path = { long_session_seconds = 0.5 } }
  expect_failures = [var.live_path]
}

run "a_function_runs_at_least_once_at_a_time" {
  command = plan
  variables { live_path = { concurrency = { react = 0 } } }
  expect_failures = [var.live_path]
}

run "each_shard_has_an_invocation" {
  command = plan
  variables {
    kinesis_shard_count = 30
    live_path           = { concurrency = { stream = 29 } }
  }
  expect_failures = [var.live_path]
}

run "capacity_comes_in_steps" {
  command = plan
  variables { redshift_capacity = { base = 9, max = 32, hours_per_day = 24 } }
  expect_failures = [var.redshift_capacity]
}
