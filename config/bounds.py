"""Says in words what values a setting takes, for its documentation and its error messages."""

from __future__ import annotations

import typing
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo


def _plain_type(annotation: Any) -> Any:
    """The type below Annotated and Optional."""
    while True:
        if get_origin(annotation) is typing.Annotated:
            annotation = get_args(annotation)[0]
            continue
        options = [a for a in get_args(annotation) if a is not type(None)]
        if len(options) == 1 and type(None) in get_args(annotation):
            annotation = options[0]
            continue
        return annotation


def bounds(field: FieldInfo) -> str:
    """Say in words what values a setting takes."""
    kind = _plain_type(field.annotation)
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if kind is bool:
        return "true, false"
    limits = {
        name: getattr(rule, name)
        for rule in field.metadata
        for name in ("ge", "le", "min_length")
        if getattr(rule, name, None) is not None
    }
    noun = {int: "whole number", float: "number"}.get(kind, "text")
    if get_origin(kind) is list:
        noun = "comma-separated list"
    if "ge" in limits and limits["ge"] == limits.get("le"):
        return f"only {limits['ge']}"
    if "ge" in limits and "le" in limits:
        return f"{noun}, {limits['ge']} to {limits['le']}"
    if "ge" in limits:
        return f"{noun}, {limits['ge']} or more"
    if limits.get("min_length", 1) > 1:
        return f"{noun}, at least {limits['min_length']} characters"
    return noun
