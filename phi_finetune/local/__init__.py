"""Workspaces on this machine: the same objects and the same client, jobs that really run, models really served.

``Workspace.local(folder)`` opens one. What is here is how it is kept and run; nothing heavy is imported with it.
"""
