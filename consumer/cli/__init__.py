"""The command ``calsync``: a file a command, with what it does and what it prints."""
