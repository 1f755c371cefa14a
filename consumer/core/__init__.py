"""Core's API."""
