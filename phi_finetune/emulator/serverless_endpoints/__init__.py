"""The resource family of serverless endpoints: models that Azure hosts, paid by the token."""
