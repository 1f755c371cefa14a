"""What each release wrote to Redis, and that this release reads it."""
