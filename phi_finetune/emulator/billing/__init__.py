"""What ran, for how long, at what price."""
