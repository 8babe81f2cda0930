"""The servers that are compared; each does the same at the same addresses."""
