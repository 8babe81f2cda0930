"""Takes the pictures in docs/images: real nodes, a real browser, a few people (`make screenshots`)."""
