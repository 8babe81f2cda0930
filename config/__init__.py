"""Typed settings, read from the environment and checked before anything starts."""

from config.loading import SettingsError, load_settings
from config.settings import Settings

__all__ = ["Settings", "SettingsError", "load_settings"]
