"""The resource family of marketplace subscriptions: the terms of third-party models, accepted for a workspace."""
