"""Keeps every worker's Outlook calendar equal to Core's schedule."""

__version__ = "0.1.0"
