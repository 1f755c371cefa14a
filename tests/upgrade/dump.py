"""The keys of a Redis as a JSON document: written by one release, loaded for a later one."""

import base64
import json
from pathlib import Path
from typing import Any, Final

import redis

_READ: Final[dict[str, Any]] = {
    "string": lambda client, key: [client.get(key)],
    "hash": lambda client, key: [part for item in sorted(client.hgetall(key).items()) for part in item],
    "set": lambda client, key: sorted(client.smembers(key)),
    "zset": lambda client, key: [member for member, _ in client.zrange(key, 0, -1, withscores=True)],
}
_WRITE: Final[dict[str, Any]] = {
    "string": lambda client, key, values: client.set(key, values[0]),
    "hash": lambda client, key, values: client.hset(key, items=values),
    "set": lambda client, key, values: client.sadd(key, *values),
    "zset": lambda client, key, values: client.zadd(key, dict.fromkeys(values, 0)),
}


def server_identity(client: "redis.Redis") -> str:
    """The start of an incarnation's name, which says which server run the data are of."""
    return f"{client.info('server')['run_id']} {client.info('replication')['master_replid']}"


def save(client: "redis.Redis", prefix: str, release: str, path: Path) -> None:
    """Write every key below the prefix; a value's parts are text where they are ASCII, otherwise base64."""
    keys = {}
    for key in sorted(client.scan_iter(f"{prefix}*")):
        found = client.type(key)
        kind = found.decode() if isinstance(found, bytes) else found
        keys[key.decode().removeprefix(prefix)] = {
            "type": kind,
            "ttl_ms": None if (left := client.pttl(key)) < 0 else left,
            "values": [_packed(part) for part in _READ[kind](client, key)],
        }
    document = {"release": release, "server": server_identity(client), "keys": keys}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(client: "redis.Redis", prefix: str, path: Path) -> None:
    """Write the keys of the file below the prefix, as if this server had held them all the time.

    Times within the values stay as they were, so leases have expired and settings are old.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    theirs, ours = document["server"].encode(), server_identity(client).encode()
    for name, entry in document["keys"].items():
        key = prefix + name
        _WRITE[entry["type"]](client, key, [_unpacked(part).replace(theirs, ours) for part in entry["values"]])
        if entry["ttl_ms"] is not None:
            client.pexpire(key, entry["ttl_ms"])


def names(path: Path) -> list[str]:
    """The names of the keys in the file."""
    return list(json.loads(path.read_text(encoding="utf-8"))["keys"])


def _packed(part: bytes) -> str | dict[str, str]:
    if part.isascii() and all(byte >= ord(" ") or byte == 0 for byte in part):
        return part.decode()
    return {"base64": base64.b64encode(part).decode()}


def _unpacked(part: str | dict[str, str]) -> bytes:
    return part.encode() if isinstance(part, str) else base64.b64decode(part["base64"])
