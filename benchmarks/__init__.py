"""What the service achieves on this machine, measured against stand-ins on loopback."""
