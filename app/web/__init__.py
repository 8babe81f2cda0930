"""Everything that is asked for over HTTP: pages, REST API, health."""

from __future__ import annotations

from flask import Flask

from app.extensions import openapi
from app.web import api, health, pages, problems, security
from app.web.security import OriginCheck, cors_resources, flask_config
from config import Settings

__all__ = ["OriginCheck", "cors_resources", "flask_config", "init_app"]


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes, the error pages and what every response carries."""
    security.init_app(app, settings)
    problems.init_app(app)
    pages.init_app(app, settings)
    app.register_blueprint(health.health)
    app.register_blueprint(api.api)
    openapi.register(app)
