"""What to do about Redis' refusals, in words for the people who run the service."""

import re
from typing import Final

_HINTS: Final = (
    (r"NOREPLICAS", "too few of its replicas answer: see them in INFO replication, or lower min-replicas-to-write"),
    (
        r"\breplica\b|READONLY",
        "it must lead to the server that takes writes: name that one, or a service that follows the failover",
    ),
    (r"maxmemory|\bOOM\b", "its memory is full: raise maxmemory, and keep maxmemory-policy noeviction"),
    (r"MISCONF", "it cannot save its data: see its log, and the space and rights on its volume"),
    (r"\bloading\b|LOADING", "it is reading its data after a start: try again when it has"),
    (
        r"\bNO(?:AUTH|PERM)\b|WRONGPASS|authentication|password|permissions",
        "it refuses the login: check the user, the password and the user's rights (ACL)",
    ),
    (r"certificate|\bSSL\b|\bTLS\b", "no TLS with it: check rediss://, CALSYNC_CA_FILE and the server's certificate"),
)
_OTHERWISE: Final = "check the address, and that the server runs and can be reached from here"


def redis_hint(reason: str) -> str:
    """What to do, given what Redis answered, or why it could not be asked."""
    for pattern, hint in _HINTS:
        if re.search(pattern, reason, re.IGNORECASE):
            return hint
    return _OTHERWISE


def redis_message(reason: str) -> str:
    """What Redis answered, or why it could not be asked, with the setting to look at and what to do."""
    return f"CALSYNC_REDIS_URL: {reason.rstrip('. ')}; {redis_hint(reason)}"
