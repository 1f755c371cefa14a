"""Keeps every worker's Outlook calendar equal to Core's schedule."""

__version__ = "0.2.0.dev0"
