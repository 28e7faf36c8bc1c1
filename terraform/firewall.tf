# In front of the collector, whose address and key anybody may know: one visitor does not use up the
# others' throttle, and known attackers do not get in.

locals {
  managed_rules = ["AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesKnownBadInputsRuleSet"]
}

resource "aws_wafv2_web_acl" "collector" {
  name        = local.live.api
  description = "What reaches the collector."
  scope       = "REGIONAL"

  default_action {
    allow {}
  }

  rule {
    name     = "requests-per-address"
    priority = 0

    action {
      block {
        # As API Gateway's throttle answers; a page may read it.
        custom_response {
          response_code = 429

          dynamic "response_header" {
            for_each = { Access-Control-Allow-Origin = "*", Access-Control-Expose-Headers = "Retry-After", Retry-After = "60" }

            content {
              name  = response_header.key
              value = response_header.value
            }
          }
        }
      }
    }

    statement {
      rate_based_statement {
        aggregate_key_type = "IP"
        limit              = var.live_path.requests_per_address
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "requests-per-address"
      sampled_requests_enabled   = false
    }
  }

  dynamic "rule" {
    for_each = local.managed_rules

    content {
      name     = rule.value
      priority = 1 + rule.key

      override_action {
        none {}
      }

      statement {
        managed_rule_group_statement {
          name        = rule.value
          vendor_name = "AWS"
        }
      }

      visibility_config {
        cloudwatch_metrics_enabled = true
        metric_name                = rule.value
        sampled_requests_enabled   = false
      }
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = local.live.api
    sampled_requests_enabled   = false
  }
}

resource "aws_wafv2_web_acl_association" "collector" {
  resource_arn = aws_api_gateway_stage.collector.arn
  web_acl_arn  = aws_wafv2_web_acl.collector.arn
}

# Who was refused, and why; nobody else's address, and no key.
resource "aws_wafv2_web_acl_logging_configuration" "collector" {
  resource_arn            = aws_wafv2_web_acl.collector.arn
  log_destination_configs = [aws_cloudwatch_log_group.this["firewall"].arn]

  logging_filter {
    default_behavior = "DROP"

    filter {
      behavior    = "KEEP"
      requirement = "MEETS_ANY"

      condition {
        action_condition {
          action = "BLOCK"
        }
      }
    }
  }

  redacted_fields {
    query_string {}
  }

  redacted_fields {
    single_header {
      name = "x-api-key"
    }
  }
}
