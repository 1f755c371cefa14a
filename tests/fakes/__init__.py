"""In-memory adapters. Each passes the contract test of its port, so that they cannot drift from the real ones."""
