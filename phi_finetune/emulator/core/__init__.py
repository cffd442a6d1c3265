"""What all resource families share: requests and answers, routes, the clock, operations, faults, the journal."""
