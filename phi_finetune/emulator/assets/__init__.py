"""The resource family of assets: the workspace's own models and data."""
