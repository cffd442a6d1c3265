"""The only package that imports ``azure.*``: one transport, plain REST calls, and azure-ai-ml where it serves."""
