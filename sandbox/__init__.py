"""Stand-ins for the systems around the service, for development and tests: Entra, Microsoft Graph, Core."""
