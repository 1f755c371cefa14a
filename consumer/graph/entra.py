"""What Entra's refusals mean, in words that a site's administrator understands."""

import re
from collections.abc import Mapping
from typing import Any, Final

from consumer.domain.errors import SiteRefusedError

LOGIN: Final = "https://login.microsoftonline.com"
_ERROR: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")
"""Entra's ``error`` is a word of OAuth 2.0 such as ``invalid_client`` (RFC 6749, section 5.2)."""
_CODE: Final = re.compile(r"AADSTS\d+")
_REMEDIES: Final = {
    "AADSTS7000222": "the client secret has expired: create a new one in the app registration (Certificates & secrets) "
    "and put its value into the sites file",
    "AADSTS7000215": "the client secret is wrong: put the secret's Value, not its Secret ID, into the sites file",
    "AADSTS700016": "the app is not known in this tenant: check client_id and tenant_id, and that an administrator of "
    "the tenant has granted consent to the app",
    "AADSTS90002": "the tenant does not exist: check tenant_id in the sites file",
    "AADSTS900023": "tenant_id in the sites file is not a tenant id: copy the Directory (tenant) ID of the app",
    "AADSTS65001": "nobody has consented to the app: an administrator must grant admin consent in Entra",
    "AADSTS7000112": "the app is disabled in this tenant: an administrator must enable it in Enterprise applications",
    "AADSTS7000229": "the app has no service principal in this tenant: an administrator must grant admin consent",
    "AADSTS53003": "a Conditional Access policy blocks the app: exclude it or allow its network",
}
_BY_ERROR: Final = {
    "invalid_client": "Entra does not accept the app's credentials: check client_id and client_secret",
    "unauthorized_client": "Entra does not know the app in this tenant: check client_id and tenant_id",
    "invalid_tenant": "the tenant does not exist: check tenant_id in the sites file",
}
_TRANSIENT: Final = frozenset({"temporarily_unavailable", "server_error"})


def refusal(error: str, description: str) -> SiteRefusedError | None:
    """The site's fault that an answer of Entra tells, or ``None`` if it is Entra's own and will pass."""
    if error in _TRANSIENT:
        return None
    found = _CODE.search(description)
    code = found.group() if found else error
    remedy = _REMEDIES.get(code) or _BY_ERROR.get(error)
    return SiteRefusedError(code, remedy or "Entra refuses the app: see the code in Microsoft's error reference")


def own_error(document: Mapping[str, Any]) -> str | None:
    """The ``error`` of a refusal in Entra's own format; ``None`` if this is an object of somebody else.

    Entra adds a description with an AADSTS code, which may be missing; other programs' ``{"error": "Not Found"}`` is
    no word of OAuth 2.0.
    """
    error, description = document.get("error"), document.get("error_description")
    if not isinstance(error, str) or not error:
        return None
    described = isinstance(description, str) and _CODE.search(description) is not None
    return error if described or _ERROR.fullmatch(error) else None
