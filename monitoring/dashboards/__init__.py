"""Grafana's dashboards as code: one file for each dashboard, `python -m monitoring.dashboards` writes their JSON."""
