variable "buckets" {
  description = "Buckets by their part in the lake: name, days that old versions are kept, and days until objects under a prefix expire."
  type = map(object({
    name            = string
    noncurrent_days = number
    expiration      = optional(map(number), {})
  }))
}

variable "key_arn" {
  description = "KMS key of every object; an upload that names another is refused."
  type        = string
}

variable "eraser_arn" {
  description = "The one role that may delete a version of a raw object where that is denied."
  type        = string
}

variable "access_logs_bucket" {
  description = "Bucket of the same region for S3's access logs; null for none."
  type        = string
}

variable "is_protected" {
  description = "Whether deleting a bucket, or a version of a raw object, is denied."
  type        = bool
}

variable "replication" {
  description = "Where every object is copied to, with whose rights, under which key; null for nowhere."
  type = object({
    role_arn = string
    arns     = map(string)
    key_arn  = string
  })
  default = null
}
