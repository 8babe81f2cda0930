"""The settings of the operations page, and what production refuses of them."""

from __future__ import annotations

from pydantic_settings import BaseSettings

from config.kinds import SECRET_MIN_CHARS, SocketPath, setting

DEFAULT_ADMIN_TOKEN = "development-only-admin-token"  # noqa: S105 - refused in production


class Ops(BaseSettings):
    """The operations page. docs/operations.md shows it."""

    admin_token: str | None = setting(
        DEFAULT_ADMIN_TOKEN,
        "Opens the page /ops to whoever knows it: switching queues, draining nodes. At most 512 "
        "characters, in production at least 32, the same on every node; unset: the page is off. A new one "
        "ends what the old let in.",
        min_length=1,
        max_length=512,
    )
    operator_hours: float = setting(
        12.0,
        "After so long an operator is asked for the token again.",
        unit="hours",
        ge=0.001,
        le=720,
    )
    cluster_control: SocketPath | None = setting(
        None,
        "Socket of the supervisord of a cluster on one machine. With it, /ops offers a tour that kills its "
        "brokers and nodes (docs/tour.md). `make cluster` sets it; refused in production. Unset: no tour.",
    )


def check_production(settings: Ops) -> None:
    """Refuse a token that others know, or could guess, and the tour that breaks things.

    :raises ValueError: with what to do instead.
    """
    if settings.cluster_control is not None:
        raise ValueError(
            f"CLUSTER_CONTROL={settings.cluster_control} lets operators kill brokers and nodes: remove it, "
            "it is for `make cluster` alone"
        )
    token = settings.admin_token
    if token is not None and (token == DEFAULT_ADMIN_TOKEN or len(token) < SECRET_MIN_CHARS):
        raise ValueError(
            "ADMIN_TOKEN is the default, or shorter than 32 characters: production needs one of its "
            'own, or none. Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
