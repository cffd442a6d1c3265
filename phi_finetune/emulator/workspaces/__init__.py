"""The resource family of workspaces: the workspace itself and its discovery document."""
