# The code that runs on AWS: `make deploy` builds it (scripts/bundle.py), and a plan shows what changed.

locals {
  code_folder = "${path.root}/../build/code"
}

resource "aws_s3_object" "code" {
  for_each = fileset(local.code_folder, "**")

  bucket      = local.names.buckets.artifacts
  key         = each.value
  source      = "${local.code_folder}/${each.value}"
  source_hash = filemd5("${local.code_folder}/${each.value}")

  # The bucket's own rules come first, so that the first object has its key already.
  depends_on = [module.buckets]
}
