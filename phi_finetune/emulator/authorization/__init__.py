"""The resource family of Azure's role-based access control: what the caller may do."""
