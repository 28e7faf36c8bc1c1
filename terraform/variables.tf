variable "account_id" {
  description = "AWS account that everything is made in; a plan with other credentials is refused."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be the 12 digits of an AWS account."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^(us|eu|ap|sa|ca|me|af|il|mx)-(north|south|east|west|central|northeast|northwest|southeast|southwest)-[1-9]$", var.region))
    error_message = "region must be the name of an AWS region, such as eu-central-1."
  }
}

variable "name_prefix" {
  description = "Start of every name, one for each environment; CLICKSTREAM_NAME_PREFIX for Airflow."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,29}$", var.name_prefix)) && !endswith(var.name_prefix, "-")
    error_message = "name_prefix must be 2 to 30 lower-case letters, digits and hyphens, a letter first and no hyphen last: bucket names start with it."
  }
}

variable "is_embedded" {
  description = "True for the embedded AWS, which has one host name for all buckets."
  type        = bool
  default     = false
}

variable "is_protected" {
  description = "Deletion protection: no principal may delete a bucket or a version of a raw object, and `make destroy` refuses."
  type        = bool
  default     = true
}

variable "zones" {
  description = "Letters of the region's availability zones for the network; Redshift Serverless asks for three."
  type        = set(string)
  default     = ["a", "b", "c"]

  validation {
    condition     = length(var.zones) >= 3 && length(var.zones) <= 6 && alltrue([for zone in var.zones : can(regex("^[a-f]$", zone))])
    error_message = "zones must be 3 to 6 letters from a to f, the ends of the names of the region's availability zones."
  }
}

variable "vpc_cidr" {
  description = "Private address range of the network."
  type        = string
  default     = "10.20.0.0/20"

  validation {
    condition = (
      can(cidrnetmask(var.vpc_cidr))
      && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.vpc_cidr))
      && try(tonumber(split("/", var.vpc_cidr)[1]), 0) >= 16
      && try(tonumber(split("/", var.vpc_cidr)[1]), 99) <= 22
    )
    error_message = "vpc_cidr must be a private IPv4 range from /16 to /22, such as 10.20.0.0/20."
  }
}

variable "alert_emails" {
  description = "Who is told when an alarm rings; each address confirms its subscription once."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@. ]{2,}$", email))])
    error_message = "alert_emails must be e-mail addresses, such as oncall@example.com."
  }
}

variable "replay_window_days" {
  description = "How far back raw events must be there to be processed again."
  type        = number
  default     = 90

  validation {
    condition     = var.replay_window_days >= 7 && var.replay_window_days <= 3650
    error_message = "replay_window_days must be 7 to 3650."
  }
}

variable "raw_retention_days" {
  description = "How long raw events are kept: at least as long as replay_window_days."
  type        = number
  default     = 400

  validation {
    condition     = var.raw_retention_days >= var.replay_window_days && var.raw_retention_days <= 3650
    error_message = "raw_retention_days must be at least replay_window_days, and at most 3650."
  }
}

variable "result_retention_days" {
  description = "How long Athena's results are kept."
  type        = number
  default     = 30

  validation {
    condition     = var.result_retention_days >= 1 && var.result_retention_days <= 365
    error_message = "result_retention_days must be 1 to 365."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept: a year at least, as auditors ask."
  type        = number
  default     = 365

  validation {
    condition     = contains([365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's steps from a year on: 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "access_logs_bucket" {
  description = "Bucket of this account and region that S3 writes its access logs to; null for none. It is not made here: it outlives every environment."
  type        = string
  default     = null

  validation {
    condition     = var.access_logs_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.access_logs_bucket))
    error_message = "access_logs_bucket must be the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "replica" {
  description = "Second region that every bucket is replicated to and back, and the access logs bucket there; null for none."
  type = object({
    region             = string
    access_logs_bucket = optional(string)
  })
  default = null

  validation {
    condition     = var.replica == null || try(can(regex("^[a-z]{2}-[a-z]+-[1-9]$", var.replica.region)) && var.replica.region != var.region, false)
    error_message = "replica.region must be the name of an AWS region other than region."
  }
}

variable "kinesis_shard_count" {
  description = "Shards of the event stream; each takes 1 MB or 1000 records a second."
  type        = number
  default     = 2

  validation {
    condition     = var.kinesis_shard_count >= 1 && var.kinesis_shard_count <= 200
    error_message = "kinesis_shard_count must be 1 to 200."
  }
}

variable "kinesis_retention_hours" {
  description = "How long the stream keeps events: a week at least, so that a long weekend loses nothing."
  type        = number
  default     = 168

  validation {
    condition     = var.kinesis_retention_hours >= 168 && var.kinesis_retention_hours <= 8760
    error_message = "kinesis_retention_hours must be 168 to 8760."
  }
}

variable "firehose_interval_seconds" {
  description = "How long Firehose may hold an event back; Airflow's CLICKSTREAM_DELIVERY_DELAY_SECONDS must be longer."
  type        = number
  default     = 300

  validation {
    condition     = var.firehose_interval_seconds >= 0 && var.firehose_interval_seconds <= 900
    error_message = "firehose_interval_seconds must be 0 to 900."
  }
}

variable "live_path" {
  description = "The collector and the reactions: which pages may send, how much (one address: in five minutes), when a cart counts as left and a session as long, and how many of each function may run at once."
  type = object({
    allowed_origins        = optional(set(string), ["http://127.0.0.1:8000", "http://localhost:8000"])
    requests_per_second    = optional(number, 1000)
    requests_per_address   = optional(number, 10000)
    cart_abandoned_seconds = optional(number, 1800)
    long_session_seconds   = optional(number, 1200)
    concurrency = optional(object({
      collector = optional(number, 100)
      stream    = optional(number, 20)
      clock     = optional(number, 1)
      react     = optional(number, 20)
    }), {})
  })
  default = {}

  validation {
    condition     = alltrue([for origin in var.live_path.allowed_origins : can(regex("^(https://[a-z0-9.-]+|http://(localhost|127\\.0\\.0\\.1))(:[0-9]{1,5})?$", origin))])
    error_message = "live_path.allowed_origins must hold origins without a path, such as https://shop.example; http only for this machine."
  }

  validation {
    condition     = var.live_path.requests_per_second >= 1 && var.live_path.requests_per_second <= 10000 && floor(var.live_path.requests_per_second) == var.live_path.requests_per_second
    error_message = "live_path.requests_per_second must be a whole number from 1 to 10000, API Gateway's quota."
  }

  validation {
    condition     = var.live_path.requests_per_address >= 100 && floor(var.live_path.requests_per_address) == var.live_path.requests_per_address
    error_message = "live_path.requests_per_address must be a whole number from 100 on: everybody in an office has one address."
  }

  validation {
    condition     = alltrue([for seconds in [var.live_path.cart_abandoned_seconds, var.live_path.long_session_seconds] : seconds >= 1 && seconds <= 86400 && floor(seconds) == seconds])
    error_message = "live_path.cart_abandoned_seconds and long_session_seconds must be whole numbers from 1 to 86400: a live session is kept for a day."
  }

  validation {
    condition     = alltrue([for number in values(var.live_path.concurrency) : number >= 1 && floor(number) == number])
    error_message = "live_path.concurrency must hold whole numbers from 1 on: a function with 0 never runs."
  }

  validation {
    condition     = var.live_path.concurrency.stream >= var.kinesis_shard_count
    error_message = "live_path.concurrency.stream must be at least kinesis_shard_count: each shard has an invocation of its own."
  }
}

variable "sets_api_gateway_account" {
  description = "Whether this environment sets the role that API Gateway writes logs with: one for the account and region. False where another environment, or whoever runs the account, has set it."
  type        = bool
  default     = true
}

variable "glue_worker_count" {
  description = "Workers of the Glue job (G.1X: 4 vCPU, 16 GB)."
  type        = number
  default     = 2

  validation {
    condition     = var.glue_worker_count >= 2 && var.glue_worker_count <= 100
    error_message = "glue_worker_count must be 2 to 100."
  }
}

variable "site_hosts" {
  description = "The shop's own hosts: a visit from one of them, or from a host below it, has no referrer."
  type        = list(string)
  default     = ["shop.example"]

  validation {
    condition     = alltrue([for host in var.site_hosts : can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", host))])
    error_message = "site_hosts must be host names in lower case, such as shop.example, without https:// and path."
  }
}

variable "currency" {
  description = "The currency that revenue is reported in; amounts in others are left out of it."
  type        = string
  default     = "USD"

  validation {
    condition     = can(regex("^[A-Z]{3}$", var.currency))
    error_message = "currency must be three capital letters, such as USD."
  }
}

variable "athena_cutoff_gib" {
  description = "A query that scans more is cancelled."
  type        = number
  default     = 10

  validation {
    condition     = var.athena_cutoff_gib >= 1 && var.athena_cutoff_gib <= 10240
    error_message = "athena_cutoff_gib must be 1 to 10240."
  }
}

variable "redshift_capacity" {
  description = "Redshift Serverless: base and greatest capacity in RPUs, and the RPU hours a day after which it is switched off."
  type = object({
    base          = number
    max           = number
    hours_per_day = number
  })
  default = { base = 8, max = 32, hours_per_day = 24 }

  validation {
    condition     = var.redshift_capacity.base >= 8 && var.redshift_capacity.base % 8 == 0 && var.redshift_capacity.max >= var.redshift_capacity.base
    error_message = "redshift_capacity.base must be 8 or more in steps of 8, and max not below it."
  }
}

variable "monthly_budget_usd" {
  description = "Spend a month that alert_emails hear of, at 80 % and when it is forecast to be passed."
  type        = number
  default     = 500

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "monthly_budget_usd must be above 0."
  }
}

variable "mwaa" {
  description = "Amazon's Airflow; null when Airflow runs elsewhere."
  type = object({
    airflow_version   = optional(string, "3.3.1")
    environment_class = optional(string, "mw1.small")
    max_workers       = optional(number, 4)
  })
  default = null
}

variable "trusted_role_arns" {
  description = "Roles of your own that may take on the pipeline's: an Airflow server's, the shops'."
  type = object({
    airflow  = optional(set(string), [])
    producer = optional(set(string), [])
  })
  default = {}

  validation {
    condition     = alltrue([for arn in setunion(var.trusted_role_arns.airflow, var.trusted_role_arns.producer) : can(regex("^arn:aws:iam::[0-9]{12}:role/.+$", arn))])
    error_message = "trusted_role_arns must hold ARNs of IAM roles, such as arn:aws:iam::111122223333:role/airflow-server."
  }
}
