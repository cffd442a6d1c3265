"""The routes of sign-in."""

from __future__ import annotations

from phi_finetune.emulator.core.router import Route

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = ()
