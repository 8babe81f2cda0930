"""Tests of the deployment: real nginx, supervisor, gunicorn, Redis, RabbitMQ, with the files that ship."""
