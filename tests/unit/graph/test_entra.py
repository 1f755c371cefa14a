"""Entra's refusals in words that an administrator can act on."""

import pytest

from consumer.graph.entra import own_error, refusal


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        ("invalid_client", "AADSTS7000222", "expired"),
        ("invalid_client", "AADSTS7000215", "Secret ID"),
        ("unauthorized_client", "AADSTS700016", "client_id and tenant_id"),
        ("invalid_tenant", "AADSTS90002", "tenant_id"),
        ("invalid_request", "AADSTS900023", "Directory (tenant) ID"),
        ("invalid_grant", "AADSTS65001", "consent"),
        ("unauthorized_client", "AADSTS7000112", "disabled"),
        ("unauthorized_client", "AADSTS7000229", "service principal"),
        ("access_denied", "AADSTS53003", "Conditional Access"),
    ],
)
def test_a_known_code_comes_with_its_hint(error: str, code: str, words: str) -> None:
    text = f"{code}: The keys for app 's3cret' are bad.\r\nTrace ID: 1\r\nTimestamp: 2026-12-01 09:00:00Z"
    found = refusal({"error": error, "error_description": text})
    assert found is not None
    assert found.code == code
    assert words in found.hint
    assert str(found) == f"{code}: {found.hint}"
    assert "s3cret" not in str(found)


def test_an_unknown_code_is_reported_with_the_hint_of_its_kind() -> None:
    found = refusal({"error": "invalid_client", "error_description": "AADSTS7009999: Something new."})
    assert found is not None
    assert found.code == "AADSTS7009999"
    assert "client_secret" in found.hint


def test_a_refusal_without_a_code_is_reported_by_its_kind() -> None:
    for error in ("unauthorized_client", "invalid_tenant", "invalid_resource"):
        found = refusal({"error": error})
        assert found is not None
        assert found.code == error
        assert found.hint


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_an_internal_error_of_entra_is_not_a_refusal(error: str) -> None:
    text = "AADSTS90033: A transient error has occurred. Please try again."
    assert refusal({"error": error, "error_description": text}) is None


def test_a_code_without_its_description_is_found_too() -> None:
    found = refusal({"error": "invalid_client", "error_codes": [7000222]})
    assert found is not None
    assert found.code == "AADSTS7000222"
    assert "expired" in found.hint


OAUTH = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
    "unsupported_response_type",
    "server_error",
    "temporarily_unavailable",
    "invalid_resource",
    "invalid_tenant",
    "interaction_required",
    "consent_required",
    "login_required",
]


@pytest.mark.parametrize("error", OAUTH)
def test_error_words_of_oauth_and_entra_are_recognised(error: str) -> None:
    assert own_error({"error": error}) == error


@pytest.mark.parametrize(
    "error",
    [
        "not_found",
        "bad_gateway",
        "service_unavailable",
        "rate_limit_exceeded",
        "too_many_requests",
        "gateway_timeout",
        "invalid_token",
        "blocked_by_policy",
        "invalid_client ",
        "INVALID_CLIENT",
        "slow_down",
    ],
)
@pytest.mark.parametrize("more", [{}, {"error_description": "Blocked by the gateway."}, {"error_codes": [403, "x"]}])
def test_a_gateways_similar_error_word_is_not_recognised(error: str, more: dict[str, object]) -> None:
    assert own_error({"error": error} | more) is None


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"error": "invalid_client"}, "invalid_client"),
        ({"error": "invalid_tenant", "error_description": "AADSTS90002: Tenant 'x' not found."}, "invalid_tenant"),
        ({"error": "strange", "error_description": "AADSTS7009999: Something new."}, "strange"),
        ({"error": "strange_new_word", "error_codes": [7009999]}, "strange_new_word"),
        ({"error": "strange", "error_codes": [True, 403, "7009999", None]}, None),
        ({"error": "strange", "error_codes": 7009999}, None),
        ({"error": "strange", "error_codes": {"7009999": 1}}, None),
        ({"error": "strange", "error_description": ["AADSTS7009999"]}, None),
        ({"error": "Not Found"}, None),
        ({"error": "not found", "message": "no Route matched with those values"}, None),
        ({"error": "forbidden", "error_description": "by the gateway"}, None),
        ({"error": {"code": "invalid_client"}}, None),
        ({"error": ""}, None),
        ({"error_description": "AADSTS90002: Tenant 'x' not found."}, None),
        ({}, None),
    ],
)
def test_entras_own_refusal_is_known_by_its_form(document: dict[str, object], error: str | None) -> None:
    assert own_error(document) == error
