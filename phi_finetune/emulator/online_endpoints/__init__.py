"""The resource family of online endpoints: endpoints, their deployments, keys, traffic and logs."""
