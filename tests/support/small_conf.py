"""gunicorn's configuration of the small server on our own worker."""

# First of all: what is imported below must find it done.
from gevent import monkey

monkey.patch_all()

from app.realtime.transport.worker import TransportWorker  # noqa: E402

worker_class = TransportWorker
