"""TLS: the one place that decides which certificates are trusted, for every connection of the service but Kafka's."""

import ssl
from pathlib import Path


def context(ca_file: Path | None) -> ssl.SSLContext:
    """What a TLS connection trusts: the authorities in ``ca_file``, or without one those of the system.

    Raises:
        ssl.SSLError: the file holds no certificate in PEM form.
        OSError: the file cannot be read.
    """
    made = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if ca_file is not None:
        # Python 3.13 sets this flag by default. It refuses authorities that older versions accept: basicConstraints
        # not critical, no keyUsage or no key identifier (docs.python.org, "What's New In Python 3.13", ssl;
        # python/cpython#107361; OpenVPN/easy-rsa#1418). Companies' own authorities often look so, and a person
        # who names the file has decided to trust it. The chain, the dates and the host name are checked all the same.
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made


def refusal(error: BaseException) -> str | None:
    """Why a certificate was refused, in OpenSSL's words; ``None`` if the error is not a refused certificate.

    The words name no content: "unable to get local issuer certificate", "certificate has expired". The error may be
    wrapped in those of a library.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        # aiohttp's error is one of these too, but without OpenSSL's words: it keeps the cause in an attribute.
        if isinstance(current, ssl.SSLCertVerificationError) and hasattr(current, "verify_message"):
            return str(current.verify_message)
        pending += [current.__cause__, current.__context__, getattr(current, "certificate_error", None)]
    return None
