"""Mistakes that somebody could make in terraform/, each of which a rule must notice."""

from __future__ import annotations

from dataclasses import dataclass

STORAGE, BUCKETS = "storage.tf", "modules/buckets/main.tf"


@dataclass(frozen=True)
class Mutant:
    """One mistake: in a file, this text becomes that.

    Attributes:
        rules: the rules that notice it, all of them.
        variables: what the plan is told beside it.
    """

    name: str
    file: str
    old: str
    new: str
    rules: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


MUTANTS = [
    Mutant("tls_may_be_left_out", BUCKETS, 'values   = ["false"]', 'values   = ["true"]'),
    Mutant("tls_is_asked_of_reads_only", BUCKETS, '["s3:*"]', '["s3:GetObject"]'),
    Mutant("tls_is_asked_of_buckets_only", BUCKETS, 'resources = [each.value.arn, "${each.value.arn}/*"]', "resources = [each.value.arn]"),
    Mutant("any_key_may_be_named", BUCKETS, "StringNotEqualsIfExists", "StringEquals"),
    Mutant("buckets_use_s3s_own_key", BUCKETS, '"aws:kms"\n      kms_master_key_id = var.key_arn', '"AES256"'),
    Mutant("public_policies_are_let_through", BUCKETS, "block_public_policy     = true", "block_public_policy     = false"),
    Mutant("public_buckets_are_let_through", BUCKETS, "restrict_public_buckets = true", "restrict_public_buckets = false"),
    Mutant("acls_are_back", BUCKETS, "BucketOwnerEnforced", "ObjectWriter"),
    Mutant("versions_are_suspended", BUCKETS, 'status = "Enabled"\n  }\n}\n\nresource "aws_s3_bucket_server', 'status = "Suspended"\n  }\n}\n\nresource "aws_s3_bucket_server'),
    Mutant("torn_uploads_stay", BUCKETS, "    abort_incomplete_multipart_upload {\n      days_after_initiation = 7\n    }\n\n    noncurrent", "    noncurrent"),
    Mutant("buckets_are_emptied_by_the_way", BUCKETS, "  bucket = each.value.name\n", "  bucket = each.value.name\n  force_destroy = true\n"),
    Mutant("raw_events_expire_in_a_week", STORAGE, "prefixes.raw) = var.raw_retention_days", "prefixes.raw) = 7"),
    Mutant("protection_is_forgotten", BUCKETS, "for_each = var.is_protected ? [1] : []", "for_each = []", variables=("is_protected=true",)),
    Mutant("protected_versions_may_go", BUCKETS, '["s3:DeleteBucket", "s3:DeleteObjectVersion"]', '["s3:DeleteBucket"]', variables=("is_protected=true",)),
    Mutant("the_job_may_do_anything_in_s3", "glue.tf", '["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]', '["s3:*"]'),
    Mutant("the_job_may_delete_raw_events", "glue.tf", "resources = [local.lake_objects, local.quarantine_objects]", "resources = [local.lake_objects, local.raw_objects]"),
    Mutant("the_job_reads_every_bucket", "glue.tf", "resources = [local.script_objects, local.raw_objects]", 'resources = ["*"]'),
    Mutant("airflow_may_do_anything_in_glue", "airflow.tf", '["glue:GetCrawler", "glue:StartCrawler"]', '["glue:*"]'),
    Mutant("airflow_asks_any_warehouse", "airflow.tf", "resources = [aws_redshiftserverless_workgroup.this.arn]", 'resources = ["*"]'),
    Mutant("the_key_opens_for_anybody", "kms.tf", "identifiers = [local.account_root]", 'identifiers = ["*"]'),
    Mutant("glue_of_any_account_takes_the_role", "glue.tf", '    condition {\n      test     = "StringEquals"\n      variable = "aws:SourceAccount"\n      values   = [var.account_id]\n    }\n', ""),
    Mutant("events_of_any_account_publish", "alerts.tf", 'values   = [var.account_id]', 'values   = ["*"]'),
    Mutant("the_key_serves_logs_of_any_account", "kms.tf", 'log-group:*"]', 'log-group:*", "arn:aws:logs:*:*:log-group:*"]'),
    Mutant("a_password_in_the_jobs_arguments", "glue.tf", '"--enable-metrics"         = "true"', '"--redshift-password" = "hunter2"'),
    Mutant("direct_puts_are_unencrypted", "firehose.tf", "enabled  = true\n      key_type = \"CUSTOMER_MANAGED_CMK\"\n      key_arn  = server_side_encryption.value", "enabled  = false"),
    Mutant("errors_lie_in_the_table", "firehose.tf", '"${local.names.prefixes.delivery_errors}!{firehose', '"${local.names.prefixes.raw}errors/!{firehose'),
    Mutant("deliveries_are_not_logged", "firehose.tf", "      enabled         = true", "      enabled         = false"),
    Mutant("deliveries_have_another_key", "firehose.tf", "kms_key_arn         = aws_kms_key.data.arn", "kms_key_arn         = aws_kms_key.operations.arn"),
    Mutant("the_stream_is_unencrypted", "kinesis.tf", '"KMS"\n  kms_key_id       = aws_kms_key.data.arn', '"NONE"'),
    Mutant("the_stream_keeps_a_day", "kinesis.tf", "var.kinesis_retention_hours", "24"),
    Mutant("glue_is_out_of_support", "glue.tf", '"5.1"', '"3.0"'),
    Mutant("glue_runs_twice_at_once", "glue.tf", "max_concurrent_runs = 1", "max_concurrent_runs = 4"),
    Mutant("glue_has_no_security_configuration", "glue.tf", "max_retries            = 0\n  security_configuration = aws_glue_security_configuration.this.name", "max_retries            = 0"),
    Mutant("glue_logs_are_unencrypted", "glue.tf", 'cloudwatch_encryption_mode = "SSE-KMS"\n      kms_key_arn                = aws_kms_key.operations.arn', 'cloudwatch_encryption_mode = "DISABLED"'),
    Mutant("the_crawler_drops_tables", "glue.tf", 'delete_behavior = "LOG"', 'delete_behavior = "DELETE_FROM_DATABASE"'),
    Mutant("athena_has_no_cut_off", "athena.tf", "    bytes_scanned_cutoff_per_query     = var.athena_cutoff_gib * pow(1024, 3)\n", ""),
    Mutant("athena_lets_queries_choose", "athena.tf", "enforce_workgroup_configuration    = true", "enforce_workgroup_configuration    = false"),
    Mutant("athena_results_have_s3s_key", "athena.tf", '"SSE_KMS"\n        kms_key_arn       = aws_kms_key.data.arn', '"SSE_S3"'),
    Mutant("the_warehouse_is_public", "redshift.tf", "publicly_accessible  = false", "publicly_accessible  = true"),
    Mutant("the_warehouse_leaves_the_network", "redshift.tf", "enhanced_vpc_routing = true", "enhanced_vpc_routing = false"),
    Mutant("the_warehouse_takes_plain_connections", "redshift.tf", 'require_ssl                      = "true"', 'require_ssl                      = "false"'),
    Mutant("the_warehouse_logs_nothing", "redshift.tf", '["connectionlog", "useractivitylog", "userlog"]', "[]"),
    Mutant("the_warehouse_has_a_typed_password", "redshift.tf", "  manage_admin_password            = true\n  admin_password_secret_kms_key_id = aws_kms_key.data.arn\n", '  admin_user_password = "Hunter2hunter2"\n'),
    Mutant("the_warehouse_spends_without_limit", "redshift.tf", "resource \"aws_redshiftserverless_usage_limit\" \"daily\" {\n", "resource \"aws_redshiftserverless_usage_limit\" \"daily\" {\n  count = 0\n"),
    Mutant("keys_are_gone_in_a_week", "kms.tf", "deletion_window_in_days = 30", "deletion_window_in_days = 7"),
    Mutant("keys_do_not_rotate", "kms.tf", "enable_key_rotation     = true", "enable_key_rotation     = false"),
    Mutant("alerts_are_unencrypted", "alerts.tf", "  kms_master_key_id = aws_kms_key.operations.arn\n}\n\nresource \"aws_sns_topic_sub", "}\n\nresource \"aws_sns_topic_sub"),
    Mutant("alerts_come_without_tls", "alerts.tf", 'values   = ["false"]', 'values   = ["true"]'),
    Mutant("dead_letters_are_kept_four_days", "alerts.tf", "14 * 24 * 3600", "4 * 24 * 3600"),
    Mutant("failures_are_lost_when_untold", "alerts.tf", "  dead_letter_config {\n    arn = aws_sqs_queue.dead_letters.arn\n  }\n", ""),
    Mutant("an_alarm_is_missing", "monitoring.tf", "      kinesis-behind = {", "      kinesis-late = {"),
    Mutant("alarms_ring_nowhere", "monitoring.tf", "  alarm_actions      = [aws_sns_topic.alerts.arn]\n", ""),
    Mutant("alarms_are_switched_off", "monitoring.tf", 'treat_missing_data = "notBreaching"', 'treat_missing_data = "notBreaching"\n  actions_enabled = false'),
    Mutant("logs_are_kept_a_month", "monitoring.tf", "retention_in_days = var.log_retention_days", "retention_in_days = 30"),
    Mutant("logs_are_unencrypted", "monitoring.tf", "  kms_key_id        = aws_kms_key.operations.arn\n", ""),
    Mutant("the_default_group_lets_in", "network.tf", "resource \"aws_default_security_group\" \"this\" {\n  vpc_id = aws_vpc.this.id\n", "resource \"aws_default_security_group\" \"this\" {\n  vpc_id = aws_vpc.this.id\n\n  ingress {\n    protocol  = -1\n    self      = true\n    from_port = 0\n    to_port   = 0\n  }\n"),
    Mutant("the_catalog_is_open_to_addresses", "network.tf", "  referenced_security_group_id = aws_security_group.redshift.id\n", '  cidr_ipv4 = "0.0.0.0/0"\n'),
    Mutant("subnets_give_out_public_addresses", "network.tf", "map_public_ip_on_launch = false", "map_public_ip_on_launch = true"),
    Mutant("the_catalog_is_asked_over_the_internet", "network.tf", "${var.region}.glue", "${var.region}.sns"),
    Mutant("the_network_has_no_flow_log", "network.tf", 'resource "aws_flow_log" "this" {\n', 'resource "aws_flow_log" "this" {\n  count = 0\n'),
    Mutant("the_budget_tells_nobody", "budget.tf", "for_each = { ACTUAL = 80, FORECASTED = 100 }", "for_each = {}"),
    Mutant("nothing_says_whose_it_is", "versions.tf", "  default_tags {\n    tags = local.tags\n  }\n}\n\nprovider", "}\n\nprovider"),
]  # fmt: skip
