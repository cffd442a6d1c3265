"""The resource family of storage: datastores, their secrets, and the blobs in them."""
