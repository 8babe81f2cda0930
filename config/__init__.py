"""Typed settings, read from the environment and checked before anything starts."""

from config.settings import Settings, SettingsError, load_settings

__all__ = ["Settings", "SettingsError", "load_settings"]
