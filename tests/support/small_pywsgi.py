"""The small server on gevent's own web server: python -m tests.support.small_pywsgi PORT"""

# First of all: what is imported below must find it done.
from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

from tests.support.servers import HOST  # noqa: E402
from tests.support.small_app import app  # noqa: E402

if __name__ == "__main__":
    server = WSGIServer((HOST, int(sys.argv[1])), app, log=None, backlog=4096)
    gevent.signal_handler(signal.SIGTERM, server.stop, 1)
    server.serve_forever()
