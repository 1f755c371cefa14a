"""Apicurio's schema registry, as Core's team runs it, with Confluent's API for the consumer."""

from sandbox.servers.apicurio.registry import Apicurio

__all__ = ["Apicurio"]
