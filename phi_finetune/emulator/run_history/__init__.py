"""The resource family of run history: what the client follows a job by."""
