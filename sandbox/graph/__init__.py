"""Entra and the calendar part of Microsoft Graph as one HTTP server with its state in memory.

It refuses what Graph refuses and rewrites what Graph rewrites (facts/graph.md, part 11); what nobody could
confirm about Graph is a switch. `python -m sandbox.graph` starts it, `sandbox.control.GraphControl` drives it.
"""
