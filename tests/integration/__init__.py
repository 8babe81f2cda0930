"""Integration tests: real gunicorn nodes, real databases, real Socket.IO clients."""
