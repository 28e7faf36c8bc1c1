terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

# A plan for one account can never be applied to another.
provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]
  s3_use_path_style   = var.is_embedded

  default_tags {
    tags = local.tags
  }
}

provider "aws" {
  alias               = "replica"
  region              = try(var.replica.region, var.region)
  allowed_account_ids = [var.account_id]
  s3_use_path_style   = var.is_embedded

  default_tags {
    tags = local.tags
  }
}
