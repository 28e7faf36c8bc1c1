# What Airflow and scripts/deploy.py need; `make env` writes them for Airflow.

output "environment" {
  description = "Airflow's settings: the variables that name this environment."
  value       = local.environment
}

output "names" {
  description = "Every name of the pipeline, as Airflow's Config derives it from the same file."
  value       = local.names
}

output "role_arns" {
  description = "IAM roles by actor."
  value = {
    airflow   = aws_iam_role.airflow.arn
    producer  = aws_iam_role.producer.arn
    firehose  = aws_iam_role.firehose.arn
    collector = aws_iam_role.collector.arn
    stream    = aws_iam_role.stream.arn
    react     = aws_iam_role.react.arn
    glue      = aws_iam_role.glue.arn
    crawler   = aws_iam_role.crawler.arn
    redshift  = aws_iam_role.redshift.arn
    eraser    = aws_iam_role.eraser.arn
  }
}

output "key_arns" {
  description = "KMS keys by what they protect."
  value       = { data = aws_kms_key.data.arn, operations = aws_kms_key.operations.arn }
}

output "alerts_topic_arn" {
  description = "SNS topic of every alarm."
  value       = aws_sns_topic.alerts.arn
}

output "collector" {
  description = "Where browsers send events, and the key they send; live_path.allowed_origins must have their shop."
  value       = { url = aws_api_gateway_stage.collector.invoke_url, key = aws_api_gateway_api_key.browsers.value }
  sensitive   = true
}

output "is_protected" {
  description = "Whether deletion protection is on; `make destroy` refuses while it is."
  value       = var.is_protected
}

output "mwaa_webserver_url" {
  description = "Amazon's Airflow; null when it runs elsewhere."
  value       = one(aws_mwaa_environment.this[*].webserver_url)
}
