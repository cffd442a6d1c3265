"""Readers: each gives the rows of one kind of source as they are, with their numbers."""
