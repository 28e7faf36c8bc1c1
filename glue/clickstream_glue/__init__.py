"""Pure Spark transforms behind the Glue jobs: no awsglue, nothing beyond pyspark."""
