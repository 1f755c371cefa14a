"""Entra and the calendar part of Microsoft Graph as one HTTP server with its state in memory.

It refuses what Graph refuses and rewrites what Graph rewrites (docs/facts/graph.md). Where nobody could confirm what
Graph does, there is a switch. `python -m sandbox.graph` starts it, `sandbox.control.GraphControl` controls it.
"""
