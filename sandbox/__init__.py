"""The world outside the service, to develop against: Entra, Microsoft Graph, Core."""
