"""The resource family of jobs: pipelines, submitted, watched and cancelled."""
