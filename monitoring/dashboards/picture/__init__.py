"""Draws a dashboard as SVG from the answers of a real Prometheus: pictures for people who have no Grafana at hand."""
