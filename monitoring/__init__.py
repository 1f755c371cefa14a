"""What watches the service: dashboards as code, and examples for Prometheus and Alertmanager."""
