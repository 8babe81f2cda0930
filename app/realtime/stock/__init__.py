"""Neighbours that use python-socketio's own managers: docs/migration.md."""
