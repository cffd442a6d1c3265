"""The resource family of computes: clusters, machine sizes, and the quota of cores."""
