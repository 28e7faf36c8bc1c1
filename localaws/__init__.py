"""The embedded AWS: one process on loopback in which every engine really computes.

MiniStack answers for S3, Kinesis, IAM, CloudWatch and the Glue catalog; the services of this
package answer for what MiniStack does not compute (Firehose delivery, Glue jobs and crawlers,
Athena, Redshift). See docs/architecture.md.
"""
