"""What a client that means harm, or is broken, does to the real server, and what must not come of it."""
