"""gunicorn for a benchmark: one gevent worker that nothing holds back."""

import os

bind = os.environ["BENCHMARK_BIND"]
workers = 1
# The native transport comes with a worker of its own; the others have gunicorn's.
native = os.environ["BENCHMARK_KIND"] == "native"
worker_class = "app.realtime.transport.worker.TransportWorker" if native else "gevent"
worker_connections = 100_000
backlog = 4096
# A server that is swamped on purpose is not hung.
timeout = 300
graceful_timeout = 1
keepalive = 75
control_socket_disable = True
accesslog = None
loglevel = "warning"
