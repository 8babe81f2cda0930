"""End-to-end tests: a real node and a real browser."""
