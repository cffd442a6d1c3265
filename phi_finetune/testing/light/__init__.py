"""Objects of this library that stand on nothing but memory: the real classes, with a handle that sends nothing."""

from __future__ import annotations

from phi_finetune.testing.light.objects import JobStatus, fake_endpoint, fake_job, fake_model, fake_workspace

__all__ = ["JobStatus", "fake_endpoint", "fake_job", "fake_model", "fake_workspace"]
