# Logs, an alarm for each promise, and one page that shows them.

locals {
  log_groups = {
    firehose    = "/aws/kinesisfirehose/${var.name_prefix}"
    glue_output = "${local.names.glue.log_group_prefix}/output"
    glue_error  = "${local.names.glue.log_group_prefix}/error"
    # Glue names a crawler's group after its role and security configuration.
    crawler = "/aws-glue/crawlers-role/${local.names.roles.crawler}-${var.name_prefix}"
    network = "/aws/vpc/${var.name_prefix}"
    # WAF takes no group whose name does not start so.
    firewall = "aws-waf-logs-${local.names.live.api}"
    api      = "/aws/apigateway/${local.names.live.api}"
    # API Gateway names it so; made here, it is encrypted and ends.
    api_errors       = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.collector.id}/${local.live.stage}"
    lambda_collector = "/aws/lambda/${local.names.live.collector}"
    lambda_stream    = "/aws/lambda/${local.names.live.stream}"
    lambda_clock     = "/aws/lambda/${local.names.live.clock}"
    lambda_react     = "/aws/lambda/${local.names.live.react}"
  }

  minute = 60
  hour   = 60 * local.minute

  daily_jobs = { glue = "clean_events", model = "build_model" }

  # The promises of docs/runbook.md; each alarm's description says what to do first.
  alarms = { for name, alarm in merge(
    { for part, stream in local.delivery_streams : "firehose-${part}-stale" => {
      description = "Events wait for more than 20 minutes: look at the stream's error log."
      namespace   = "AWS/Firehose"
      metric      = "DeliveryToS3.DataFreshness"
      dimensions  = { DeliveryStreamName = stream }
      statistic   = "Maximum"
      threshold   = 20 * local.minute
      periods     = 2
    } },
    { for part, stream in local.delivery_streams : "firehose-${part}-failing" => {
      description = "Deliveries to S3 fail: look at the stream's error log, its role and its key."
      namespace   = "AWS/Firehose"
      metric      = "DeliveryToS3.Success"
      dimensions  = { DeliveryStreamName = stream }
      statistic   = "Minimum"
      threshold   = 1
      periods     = 3
      operator    = "LessThanThreshold"
    } },
    { for name, job in local.daily_jobs : "${name}-failed" => {
      description = "Tasks of the job fail: its message is in Airflow's log of ${job}."
      namespace   = "Glue"
      metric      = "glue.driver.aggregate.numFailedTasks"
      dimensions  = { JobName = local.glue_jobs[job].name, JobRunId = "ALL", Type = "count" }
      statistic   = "Sum"
      threshold   = 0
    } },
    { for name, job in local.daily_jobs : "${name}-slow" => {
      description = "The job ran for more than 45 minutes; it is stopped after 60: raise glue_worker_count."
      namespace   = "Glue"
      metric      = "glue.driver.aggregate.elapsedTime"
      dimensions  = { JobName = local.glue_jobs[job].name, JobRunId = "ALL", Type = "count" }
      statistic   = "Maximum"
      threshold   = 45 * local.minute * 1000
    } },
    { for function in ["stream", "clock", "react"] : "${function}-failing" => {
      description = "The function fails again and again: its errors are in its log, ${local.log_groups["lambda_${function}"]}."
      namespace   = "AWS/Lambda"
      metric      = "Errors"
      dimensions  = { FunctionName = local.names.live[function] }
      statistic   = "Sum"
      threshold   = 0
      periods     = 3
    } },
    {
      collector-failing = {
        description = "One request of a hundred is not taken: look at the collector's log, then at kinesis-throttled."
        namespace   = "AWS/ApiGateway"
        metric      = "5XXError"
        dimensions  = { ApiName = local.names.live.api, Stage = local.live.stage }
        statistic   = "Average"
        threshold   = 0.01
        periods     = 2
      }
      collector-slow = {
        description = "Requests take more than a second: look at kinesis-throttled, then at the function's traces."
        namespace   = "AWS/ApiGateway"
        metric      = "Latency"
        dimensions  = { ApiName = local.names.live.api, Stage = local.live.stage }
        statistic   = "Average"
        threshold   = 1000
        periods     = 3
      }
      collector-throttled = {
        description = "More requests come than may be answered at once: raise live_path.concurrency.collector."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = { FunctionName = local.names.live.collector }
        statistic   = "Sum"
        threshold   = 0
        periods     = 3
      }
      stream-behind = {
        description = "Key events are told five minutes late: look at stream-failing, then raise kinesis_shard_count."
        namespace   = "AWS/Lambda"
        metric      = "IteratorAge"
        dimensions  = { FunctionName = local.names.live.stream }
        statistic   = "Maximum"
        threshold   = 5 * local.minute * 1000
        periods     = 2
      }
      stream-failures = {
        description = "Records were set aside after every retry: read the queue, then the log of the stream's function."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = aws_sqs_queue.stream_failures.name }
        statistic   = "Maximum"
        threshold   = 0
      }
      firehose-throttled = {
        description = "Producers are throttled: ask for a higher quota, or slow them down."
        namespace   = "AWS/Firehose"
        metric      = "ThrottledRecords"
        dimensions  = { DeliveryStreamName = local.delivery_streams.direct }
        statistic   = "Sum"
        threshold   = 0
        periods     = 3
      }
      kinesis-behind = {
        description = "A reader of the stream is an hour behind: look at Firehose, then at stream-behind, before retention ends."
        namespace   = "AWS/Kinesis"
        metric      = "GetRecords.IteratorAgeMilliseconds"
        dimensions  = { StreamName = local.names.kinesis_stream }
        statistic   = "Maximum"
        threshold   = 1000 * local.hour
        periods     = 3
      }
      kinesis-throttled = {
        description = "Writes to the stream are refused: raise kinesis_shard_count."
        namespace   = "AWS/Kinesis"
        metric      = "WriteProvisionedThroughputExceeded"
        dimensions  = { StreamName = local.names.kinesis_stream }
        statistic   = "Sum"
        threshold   = 0
        periods     = 3
      }
      athena-failed = {
        description = "Queries fail: their reasons are in the work group's history."
        namespace   = "AWS/Athena"
        metric      = "TotalExecutionTime"
        dimensions  = { WorkGroup = local.names.athena.workgroup, QueryState = "FAILED", QueryType = "DML" }
        statistic   = "SampleCount"
        threshold   = 0
      }
      athena-slow = {
        description = "Queries take more than 10 minutes: look for one that does not filter its partitions."
        namespace   = "AWS/Athena"
        metric      = "TotalExecutionTime"
        dimensions  = { WorkGroup = local.names.athena.workgroup, QueryState = "SUCCEEDED", QueryType = "DML" }
        statistic   = "Maximum"
        threshold   = 10 * local.minute * 1000
      }
      redshift-failed = {
        description = "Statements in the warehouse fail: the reason is in Airflow's log of load_redshift."
        namespace   = "AWS/Redshift-Serverless"
        metric      = "QueriesFailed"
        dimensions  = { Workgroup = local.names.redshift.workgroup, LatencyRange = "Short" }
        statistic   = "Sum"
        threshold   = 0
      }
      dead-letters = {
        description = "An alert, a reaction or a look at the clock was given up: read the queue, then what it was meant for."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = aws_sqs_queue.dead_letters.name }
        statistic   = "Maximum"
        threshold   = 0
      }
    },
  ) : name => merge({ period = 5 * local.minute, periods = 1, operator = "GreaterThanThreshold" }, alarm) }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = local.log_groups

  name              = each.value
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.operations.arn
}

resource "aws_cloudwatch_metric_alarm" "promise" {
  for_each = local.alarms

  alarm_name          = "${var.name_prefix}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.operator
  # A quiet night is no failure; that nothing arrives is the ingestion monitor's question.
  treat_missing_data = "notBreaching"
  alarm_actions      = [aws_sns_topic.alerts.arn]
  ok_actions         = [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name_prefix

  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm"
        x          = 0
        y          = 0
        width      = 24
        height     = 3
        properties = { title = "Promises", alarms = [for alarm in aws_cloudwatch_metric_alarm.promise : alarm.arn] }
      }],
      [for number, name in sort(keys(local.alarms)) : {
        type   = "metric"
        x      = 8 * (number % 3)
        y      = 3 + 6 * floor(number / 3)
        width  = 8
        height = 6
        properties = {
          title  = name
          region = var.region
          stat   = local.alarms[name].statistic
          period = local.alarms[name].period
          view   = "timeSeries"
          metrics = [concat(
            [local.alarms[name].namespace, local.alarms[name].metric],
            flatten([for key, value in local.alarms[name].dimensions : [key, value]]),
          )]
          annotations = { horizontal = [{ label = "alarm", value = local.alarms[name].threshold }] }
        }
      }],
    )
  })
}
