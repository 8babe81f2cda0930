"""The extensions, unbound: create_app() binds them to an application."""

from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from spectree import SecurityScheme, SpecTree
from spectree.models import InType, SecureType, SecuritySchemeData

from app.database import Database
from app.realtime import SocketIO

socketio = SocketIO()
db = Database()
limiter = Limiter(key_func=get_remote_address)
cors = CORS()
openapi = SpecTree(
    "flask",
    title="Chat API",
    version="1",
    # The document is at /openapi/v1.json; the library leaves out of it whatever begins with this path.
    path="openapi",
    filename="v1.json",
    # Only what is declared is documented; the page that shows it is a template of ours (web/pages.py).
    mode="strict",
    page_templates={},
    security_schemes=[
        SecurityScheme(
            "token", SecuritySchemeData(SecureType.HTTP, scheme="bearer", description="API_TOKEN")
        ),
        SecurityScheme(
            "jwt",
            SecuritySchemeData(SecureType.HTTP, scheme="bearer", description="a user's, see AUTH_JWT_*"),
        ),
        SecurityScheme(
            "session", SecuritySchemeData(SecureType.API_KEY, name="session", field_in=InType.COOKIE)
        ),
    ],
)
