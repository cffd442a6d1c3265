"""Doors: how a client's requests come to a cloud."""
