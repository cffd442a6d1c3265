"""The resource family of scoring: the hosts of endpoints, where deployed models answer."""
