resource "aws_budgets_budget" "monthly" {
  name         = var.name_prefix
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = var.monthly_budget_usd
  limit_unit   = "USD"

  # Only what carries this environment's tag (a cost allocation tag, once activated in Billing).
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Environment$%s", var.name_prefix)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      notification_type         = notification.key
      comparison_operator       = "GREATER_THAN"
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.alerts.arn]
    }
  }
}
