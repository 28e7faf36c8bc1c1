"""The Lambda functions of the live path: collect, watch the stream, react."""
