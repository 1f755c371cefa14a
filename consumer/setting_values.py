"""What single settings must look like. Each check raises ``ValueError`` with what to do, never with the value."""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import idna

from consumer.operator_text import read_secret

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_TOKEN: Final = re.compile(r"[!-~]+")
_PROTOCOLS: Final = frozenset({"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"})
_PORT: Final = "the port must be a number from 1 to 65535"
_ENCODE: Final = "percent-encode special characters in the password"
_REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
_REDIS_OPTIONS: Final = frozenset({"db", "protocol", "client_name", "username", "password"})
_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
_TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_LONGEST_SOCKET: Final = 107
"""Bytes of a Unix socket's path (unix(7): sun_path)."""


def require_host(host: str) -> None:
    """A host's name or address; IPv6 without its brackets."""
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("the host is not an IPv6 address") from None
        if "%" in host:
            raise ValueError("the host must not name a network interface")
        return
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise ValueError("the host is not a valid name") from None
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host is not a valid name")
    if labels[-1].isdigit():  # as resolvers see it, an IPv4 address
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ValueError("the host is not an IPv4 address") from None


def _split(value: str, hint: str = "") -> tuple[SplitResult, int | None]:
    """A URL's parts and its port."""
    if any(character.isspace() or character == "\\" for character in value):
        raise ValueError(f"must not hold spaces or backslashes{hint}")
    try:
        parts = urlsplit(value)
    except ValueError:
        # The library's message quotes the host's part, a password included.
        raise ValueError(f"is not a URL{hint}") from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(_PORT + hint)
    return parts, port


def web_url(value: str) -> str:
    """An http(s) URL to which paths are added."""
    parts, _ = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password")
    if "?" in value or "#" in value:
        raise ValueError("must not hold a query or a fragment")
    require_host(parts.hostname)
    return value.rstrip("/")


def registry_urls(value: str) -> str:
    """One URL, or several separated by commas as Confluent's clients take them."""
    urls = [url for part in value.split(",") if (url := part.strip())]
    if not urls:
        raise ValueError("must be an http(s) URL, or several separated by commas")
    if any("@" in url for url in urls):
        raise ValueError("must not hold a user or password: put them into CALSYNC_SCHEMA_REGISTRY_USER_INFO")
    return ",".join(dict.fromkeys(map(web_url, urls)))


def microsoft_url(value: str) -> str:
    """https; plain http on a loopback address only."""
    url = web_url(value)
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("must be https: plain http is accepted on a loopback address only")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def redis_url(value: str) -> str:
    """``redis://[[user]:password@]host[:port][/db]``, the same with ``rediss``, or ``unix://[:password@]/path``."""
    hint = f"; {_ENCODE}"
    scheme = value.partition(":")[0].lower()
    if scheme not in _REDIS_SCHEMES:
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    parts, _ = _split(value, hint)
    if "#" in value:
        raise ValueError(f"must not hold a fragment{hint}")
    if scheme == "unix":
        if parts.hostname or not parts.path.startswith("/"):
            raise ValueError(f"must be unix:// and the absolute path of a socket{hint}")
        if len(unquote(parts.path).encode()) > _LONGEST_SOCKET:
            raise ValueError(f"the socket's path is longer than {_LONGEST_SOCKET} bytes")
    else:
        if not parts.hostname:
            raise ValueError(f"names no host{hint}")
        require_host(unquote(parts.hostname))
        if not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
            raise ValueError(f"the database must be a number, such as /0{hint}")
    _require_redis_options(parts.query, scheme, hint)
    return value


def _require_redis_options(query: str, scheme: str, hint: str) -> None:
    known = _REDIS_OPTIONS | _TLS_OPTIONS if scheme == "rediss" else _REDIS_OPTIONS
    try:
        given_options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError(f"the part behind ? holds no options{hint}") from None
    options = dict(given_options)
    if not options.keys() <= known:
        raise ValueError(f"the part behind ? may hold {', '.join(sorted(known))} only{hint}")
    if len(options) != len(given_options):
        raise ValueError("an option is given twice")
    allowed = {
        "db": r"[0-9]{1,9}",
        "protocol": "[23]",
        "ssl_cert_reqs": "none|optional|required",
        "ssl_check_hostname": "(?i:true|false)",
    }
    for name, given in options.items():
        if not given or not re.fullmatch(allowed.get(name, ".*"), given):
            raise ValueError(f"the option {name} has a value that cannot be used")
    # redis-py decodes the values once more.
    _require_tls_files({name: Path(unquote(options[name])) for name in _TLS_FILES & options.keys()})


def _require_tls_files(files: Mapping[str, Path]) -> None:
    """Files that redis-py reads whenever it connects: without them it would never connect."""
    checks = {
        "ssl_ca_certs": lambda path: authorities(readable(path)),
        "ssl_certfile": readable,
        "ssl_keyfile": readable,
    }
    for name in sorted(files):
        try:
            checks[name](files[name])
        except ValueError as error:
            raise ValueError(f"the option {name}: {error}") from None
    certificate, key = files.get("ssl_certfile"), files.get("ssl_keyfile")
    if certificate is not None:
        _require_chain(certificate, key)
    elif key is not None:
        raise ValueError("the option ssl_keyfile needs ssl_certfile beside it")


def _require_chain(certificate: Path, key: Path | None) -> None:
    """A client's certificate and its private key, both as PEM; without a key file, the certificate's file has both."""
    named = "ssl_certfile and ssl_keyfile" if key else "ssl_certfile"
    try:
        # With a password of its own, OpenSSL does not ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        if "KEY_VALUES_MISMATCH" in str(error):
            raise ValueError(f"the options {named}: the key is not the certificate's") from None
        hint = "" if key else ", or the key is in a file of its own: name it with ssl_keyfile"
        raise ValueError(
            f"the option {named}: must hold a certificate and its private key in PEM form, without a passphrase{hint}"
        ) from None


def bootstrap_servers(value: str) -> str:
    """``host:port,host:port``, each with librdkafka's ``protocol://`` before it if you like."""
    servers = [server for part in value.split(",") if (server := part.strip())]
    if not servers:
        raise ValueError("must be HOST:PORT, or several separated by commas")
    for server in servers:
        protocol, separator, address = server.rpartition("://")
        if separator and protocol.lower() not in _PROTOCOLS:
            raise ValueError("must be HOST:PORT, or several separated by commas, and no URL")
        parts, _ = _split(f"kafka://{address}")
        if not parts.hostname or parts.netloc != address or "@" in address:
            raise ValueError("must be HOST:PORT, or several separated by commas")
        require_host(parts.hostname)
    return ",".join(servers)


def topic(value: str) -> str:
    """A topic's name as Kafka accepts it (org.apache.kafka.common.internals.Topic)."""
    if value in (".", "..") or not _TOPIC.fullmatch(value):
        raise ValueError("must be a topic's name: letters, digits, dots, hyphens and underscores, 249 at most")
    return value


def bind(value: str) -> str:
    """``HOST:PORT``; port 0 takes any."""
    host, _, port = value.rpartition(":")
    wrong = ValueError("must be HOST:PORT, such as 0.0.0.0:9464")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise wrong
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed != (":" in host):
        raise wrong
    try:
        require_host(host[1:-1] if bracketed else host)
    except ValueError as error:
        raise ValueError(f"{wrong}: {error}") from None
    return value


def token(value: str) -> str:
    """A bearer token: what may stand in a header (RFC 6750, section 2.1)."""
    if value.lower().startswith("bearer "):
        raise ValueError('must be the token alone, without "Bearer" before it')
    if value[:1] in ("'", '"') and value[:1] == value[-1:]:
        raise ValueError("stands in quotes, which are read as a part of it: remove them")
    if not _TOKEN.fullmatch(value):
        raise ValueError("must be a token without spaces and other special characters")
    return value


def token_of(path: Path) -> str:
    """The token that a file holds. Raises ``OSError`` too."""
    return token(read_secret(path))


def user_info(value: str) -> str:
    """``user:password``."""
    user, colon, _ = value.partition(":")
    if not user or not colon:
        raise ValueError("must be USER:PASSWORD")
    return value


def readable(value: Path) -> Path:
    """A file that can be read."""
    try:
        if value.exists() and not value.is_file():
            raise ValueError("is not a file: name the file, not its folder")
        if not value.exists():
            raise ValueError("no such file: check the path, and that it is mounted")
        value.open("rb").close()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return value


def authorities(value: Path) -> Path:
    """Certificates in PEM form, every one of which can be used."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise ValueError("holds no certificate in PEM form, or one that cannot be read") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not context.cert_store_stats()["x509"]:
        raise ValueError("holds no certificate in PEM form")
    return value
