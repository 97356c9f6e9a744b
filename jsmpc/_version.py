"""The version of jsmpc."""

__version__ = "0.1.0"
