"""Apicurio's schema registry, as Core's team would run it, with Confluent's API for the consumer."""

from sandbox.servers.apicurio.registry import Apicurio

__all__ = ["Apicurio"]
