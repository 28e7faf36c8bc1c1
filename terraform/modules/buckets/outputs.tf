output "arns" {
  description = "Bucket ARNs by their part in the lake."
  value       = { for part, bucket in aws_s3_bucket.this : part => bucket.arn }
}

output "versioned_arns" {
  description = "The same, once versioning is on, as a replication's destination must have it."
  value       = { for part, bucket in aws_s3_bucket.this : part => bucket.arn }

  depends_on = [aws_s3_bucket_versioning.this]
}
