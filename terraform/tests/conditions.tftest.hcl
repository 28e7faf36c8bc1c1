# What is there, and what is not, as the settings say.

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

run "an_environment_is_one_region_without_airflow" {
  command = plan

  assert {
    condition     = length(module.replica_buckets) == 0 && length(aws_kms_replica_key.data) == 0
    error_message = "Without var.replica there is no second region."
  }

  assert {
    condition     = length(aws_mwaa_environment.this) == 0 && length(aws_nat_gateway.this) == 0
    error_message = "Without var.mwaa there is no Airflow, and no way out of the network."
  }

  assert {
    condition     = output.is_protected
    error_message = "Deletion protection is on unless an environment says otherwise."
  }

  assert {
    condition     = output.environment.CLICKSTREAM_DELIVERY_DELAY_SECONDS == "600"
    error_message = "A run starts five minutes after Firehose's buffer must have landed."
  }

  assert {
    condition     = output.names.buckets.raw == "clickstream-test-raw-111122223333"
    error_message = "Names come from plugins/clickstream/names.json."
  }
}

run "a_replica_doubles_the_buckets" {
  command = plan

  variables {
    replica = { region = "us-west-2" }
  }

  assert {
    condition     = length(module.replica_buckets) == 1 && length(aws_iam_role.replication) == 1
    error_message = "var.replica makes a second set of buckets and the role that copies."
  }
}

run "amazons_airflow_brings_its_way_out" {
  command = plan

  variables {
    mwaa = {}
  }

  assert {
    condition     = length(aws_mwaa_environment.this) == 1 && length(aws_nat_gateway.this) == 2
    error_message = "MWAA comes with a way out in two zones."
  }

  assert {
    condition     = aws_mwaa_environment.this[0].webserver_access_mode == "PRIVATE_ONLY"
    error_message = "Airflow's page is not on the internet."
  }
}

run "the_accounts_role_for_logs_may_be_another_environments" {
  command = plan

  variables {
    sets_api_gateway_account = false
  }

  assert {
    condition     = length(aws_api_gateway_account.this) == 0 && length(aws_iam_role.api_logs) == 0
    error_message = "One environment sets API Gateway's role; the others leave it."
  }
}

run "a_burst_stays_below_api_gateways_quota" {
  command = plan

  variables {
    live_path = { requests_per_second = 10000 }
  }

  assert {
    condition     = aws_api_gateway_usage_plan.browsers.throttle_settings[0].burst_limit == 5000
    error_message = "An account may burst to 5000."
  }
}

run "alerts_reach_people" {
  command = plan

  variables {
    alert_emails = ["oncall@example.com", "data@example.com"]
  }

  assert {
    condition     = length(aws_sns_topic_subscription.email) == 2
    error_message = "Each address is subscribed."
  }
}
