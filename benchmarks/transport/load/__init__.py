"""The load generator: thousands of clients in one process that does next to nothing with what it gets."""
