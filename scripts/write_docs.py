"""Writes the documents that follow from the code: `make docs`. A test compares them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from app.chat.namespace import ChatNamespace
from app.errors import CODES
from app.market.namespace import MarketNamespace
from app.ops.namespace import OpsNamespace
from app.realtime import EventNamespace
from app.tour.namespace import TourNamespace
from config.kinds import ROOT
from config.reference import configuration_page, env_example

NAMESPACES: dict[str, type[EventNamespace]] = {
    "/chat": ChatNamespace,
    "/market": MarketNamespace,
    "/ops": OpsNamespace,
    "/tour": TourNamespace,
}
RATE_SETTINGS = {
    "default": "RATE_DEFAULT",
    "send": "RATE_SEND",
    "typing": "RATE_TYPING",
    "read": "RATE_READ",
    "create": "RATE_CREATE",
}

EVENTS_INTRODUCTION = """\
# Events

<!-- Written by `make docs` from the schemas and the namespaces: change it there. -->

An event carries one object, or nothing where every field may be left out. It is answered by an
acknowledgement: `{"ok": true, ...}` with the fields below, or `{"ok": false, "error": {...}}` with a
`code` of the table, a `message` for people, and sometimes `field`, `limit`, `retry_after_ms` or
`incident`. Who asked for no acknowledgement gets what went wrong as the event `error`, with the name of
the `event` beside the code. An event is never met by silence.

Times are whole numbers of milliseconds since 1970 and end in `_ms`. Unknown fields are refused, so that a
typing error is seen. One client's events are handled in the order in which they were sent.
"""

CONNECTING = {
    "/chat": (
        'Needs a signed-in user: the cookie of the page, or a token (JWT) as `auth: {"token": ...}`; see '
        "docs/users.md. A refused connection raises `connect_error` with `data.code` = `unauthorized` or "
        "`name_taken`; with the former, `data.reason` is `ended` for whoever was signed out. After each "
        "connect, also after a reconnect, the socket is in the user's rooms already; ask for `hello`, then "
        "for the `history` that was missed (`after_seq`) and for the `changes` to what you have. `hello` "
        "tells the numbers that say whether there is any."
    ),
    "/market": (
        "Open to everybody, signed in (as to `/chat`) or not; a bad token is refused. A tick may arrive that "
        "the snapshot already contains: compare `run`, then `seq`."
    ),
    "/ops": (
        'Needs an operator: the cookie of the page `/ops`, or the ADMIN_TOKEN as `auth: {"token": ...}`. '
        "Without an ADMIN_TOKEN there is no such namespace. Ask for the `overview` after each connect. "
        "docs/operations.md says what each figure means."
    ),
    "/tour": (
        "Only in a cluster of `make cluster`, and needs an operator: the cookie of the page `/ops`, or the "
        'ADMIN_TOKEN as `auth: {"token": ...}`. docs/tour.md explains it.'
    ),
}


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema's type in a few words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rsplit('/', 1)[1]}`"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "prefixItems" in schema:
        return f"[{', '.join(_type(item) for item in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    words = str(schema.get("type", "any"))
    low, high = (
        schema.get("minimum", schema.get("minLength")),
        schema.get("maximum", schema.get("maxLength")),
    )
    if "pattern" in schema:
        words += f" `{schema['pattern']}`"
    elif low is not None and high is not None and high < 2**53 - 1:
        words += f", {low} to {high}"
    elif low is not None:
        words += f", {low} or more"
    return words


def _fields(model: type[BaseModel]) -> list[str]:
    """A model's fields as list items."""
    schema = model.model_json_schema(mode="serialization")
    rows = []
    for name, field in schema.get("properties", {}).items():
        optional = name not in schema.get("required", [])
        default = (
            f", optional, default {field['default']}" if field.get("default") is not None else ", optional"
        )
        note = f": {field['description']}" if "description" in field else ""
        rows.append(f"- `{name}` ({_type(field)}{default if optional else ''}){note}")
    return rows or ["- nothing"]


def _types(models: Iterable[type[BaseModel]]) -> dict[str, dict[str, Any]]:
    """The named types that models refer to."""
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        found |= model.model_json_schema(mode="serialization").get("$defs", {})
    return dict(sorted(found.items()))


def events_page() -> str:
    """Build the text of docs/events.md."""
    lines = [EVENTS_INTRODUCTION]
    for path, namespace in NAMESPACES.items():
        lines += [f"## `{path}`", "", CONNECTING[path], "", "### From the client", ""]
        for name, spec in namespace.events.items():
            lines += [f"#### `{name}`", "", spec.meaning, "", f"Rate: `{RATE_SETTINGS[spec.rate]}`.", ""]
            lines += [
                "Carries",
                "",
                *_fields(spec.schema),
                "",
                "Answered with",
                "",
                *_fields(spec.answer),
                "",
            ]
        lines += ["### From the server", ""]
        for name, model in namespace.emits.items():
            meaning = " ".join((model.__doc__ or "").split())
            lines += [f"#### `{name}`", "", meaning, "", *_fields(model), ""]
        lines += ["### Types", ""]
        models = [m for spec in namespace.events.values() for m in (spec.schema, spec.answer)]
        for name, schema in _types([*models, *namespace.emits.values()]).items():
            lines += [f"`{name}`: {schema.get('description', '')}", ""]
            lines += [
                f"- `{field}` ({_type(rule)})" + (f": {rule['description']}" if "description" in rule else "")
                for field, rule in schema["properties"].items()
            ]
            lines.append("")
    lines += ["## Error codes", ""]
    lines += ["The REST API answers with the same codes, as problem details with the HTTP status.", ""]
    lines += ["| code | meaning | temporary | HTTP |", "| --- | --- | --- | --- |"]
    for name, code in CODES.items():
        temporary = "yes" if code.temporary else "no"
        lines.append(f"| `{name}` | {code.meaning} | {temporary} | {code.http_status} |")
    return "\n".join(lines) + "\n"


def documents() -> dict[str, str]:
    """Every generated document: its path from the project's root, and its text."""
    return {
        "docs/configuration.md": configuration_page(),
        "docs/events.md": events_page(),
        ".env.example": env_example(),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        (ROOT / path).write_text(text, encoding="utf-8")
        print("wrote", path)
