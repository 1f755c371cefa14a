"""What Entra's refusals mean, in words that a site's administrator understands."""

import re
from collections.abc import Mapping
from typing import Any, Final

from consumer.domain.errors import SiteRefusedError

LOGIN: Final = "https://login.microsoftonline.com"
_ERRORS: Final = frozenset(
    {
        # RFC 6749, section 5.2
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        # RFC 6749, section 4.1.2.1
        "access_denied",
        "unsupported_response_type",
        "server_error",
        "temporarily_unavailable",
        # OpenID Connect Core 1.0, section 3.1.2.6
        "interaction_required",
        "login_required",
        "consent_required",
        "account_selection_required",
        # Entra's own (learn.microsoft.com/entra/identity-platform/reference-error-codes); the last one answers a
        # request for the openid-configuration of a tenant that does not exist.
        "invalid_resource",
        "invalid_tenant",
    }
)
"""What Entra's ``error`` may be. The words of RFC 8628 (device codes) are left out: Entra answers none of our requests
with them, and a gateway may say ``slow_down``."""
_SMALLEST_CODE: Final = 10_000
"""AADSTS codes have five digits or more; a smaller number in ``error_codes`` may be an HTTP status."""
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


def refusal(document: Mapping[str, Any]) -> SiteRefusedError | None:
    """The site's fault that a refusal of Entra reports, or ``None`` if the fault is Entra's and will pass.

    ``document`` has an ``own_error``.
    """
    error = str(document["error"])
    if error in _TRANSIENT:
        return None
    code = _aadsts(document) or error
    hint = _REMEDIES.get(code) or _BY_ERROR.get(error)
    return SiteRefusedError(code, hint or "Entra refuses the app: see the code in Microsoft's error reference")


def own_error(document: Mapping[str, Any]) -> str | None:
    """The ``error`` of a refusal in Entra's own format; ``None`` if this is an object of somebody else.

    It is one of a closed list, or comes with an AADSTS code. A gateway's ``{"error": "not_found"}`` is neither.
    """
    error = document.get("error")
    if not isinstance(error, str) or not error:
        return None
    return error if error in _ERRORS or _aadsts(document) else None


def _aadsts(document: Mapping[str, Any]) -> str:
    """The AADSTS code in the description, or else in the list of codes; empty if there is none."""
    description, numbers = document.get("error_description"), document.get("error_codes")
    if isinstance(description, str) and (found := _CODE.search(description)):
        return found.group()
    if isinstance(numbers, list):
        for number in numbers:
            if type(number) is int and number >= _SMALLEST_CODE:
                return f"AADSTS{number}"
    return ""
