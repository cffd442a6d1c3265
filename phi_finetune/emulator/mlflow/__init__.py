"""The resource family of MLflow: the tracking service's view of the jobs."""
