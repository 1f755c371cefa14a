"""What the service can do on this machine, measured against stand-ins on loopback."""
