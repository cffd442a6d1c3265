"""The scoring server of this machine: requests, replies, and the thread that answers them in batches."""
