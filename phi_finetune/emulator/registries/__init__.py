"""The resource family of registries: the shared catalogues of models and components."""
