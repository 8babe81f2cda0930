"""The WSGI entry point: `gunicorn --config config/gunicorn.conf.py wsgi:app`."""

# First of all: whatever is imported before this keeps the blocking sockets, locks and sleeps.
from gevent import monkey

monkey.patch_all()

from app import create_app  # noqa: E402
from config import SettingsError  # noqa: E402

try:
    app = create_app()
except SettingsError as error:
    # A stack trace would only hide the sentence that helps.
    raise SystemExit(str(error)) from None
