"""HTTPS_PROXY, HTTP_PROXY and NO_PROXY as people write them."""

import base64

import pytest

from consumer.domain.errors import ConfigurationError
from consumer.proxies import Proxies, Proxy

PROXY = "http://proxy.example:3128"
GRAPH = "https://graph.microsoft.com/v1.0"


def through(url: str, no_proxy: str = "", **environment: str) -> Proxy | None:
    return Proxies({"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY, "NO_PROXY": no_proxy} | environment).for_url(url)


def test_without_variables_everything_is_asked_directly() -> None:
    assert Proxies({}).for_url(GRAPH) is None
    assert Proxies({"HTTPS_PROXY": " "}).for_url(GRAPH) is None


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"https_proxy": PROXY}, "https_proxy"),
        ({"HTTPS_PROXY": "http://other.example:1", "https_proxy": PROXY}, "https_proxy"),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": f"{PROXY}/\n"}, "HTTPS_PROXY"),
    ],
)
def test_either_case_and_a_value_without_a_scheme_name_the_proxy(environment: dict[str, str], variable: str) -> None:
    proxies = Proxies(environment)
    assert proxies.for_url(GRAPH) == Proxy(variable, PROXY, None)
    assert proxies.for_url("http://core.example") is None, "HTTP_PROXY is the one for http"


def test_a_proxy_without_a_port_has_the_default_port_of_its_scheme() -> None:
    assert Proxies({"HTTPS_PROXY": "http://p.example"}).for_url(GRAPH) == Proxy(
        "HTTPS_PROXY", "http://p.example:80", None
    )
    assert Proxies({"HTTPS_PROXY": "https://[fd00::1]"}).for_url(GRAPH) == Proxy(
        "HTTPS_PROXY", "https://[fd00::1]:443", None
    )


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080", "http://127.0.0.1:1/x", "http://127.8.9.1", "https://[::1]:9/", "http://core.localhost"],
)
def test_loopback_addresses_are_never_sent_to_a_proxy(url: str) -> None:
    assert through(url) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", GRAPH, True),
        ("graph.microsoft.com", GRAPH, True),
        ("microsoft.com", GRAPH, True),
        (".microsoft.com", GRAPH, True),
        ("*.microsoft.com", GRAPH, True),
        ("GRAPH.Microsoft.com", GRAPH, True),
        ("soft.com", GRAPH, False),
        ("graph.microsoft.com.evil.example", GRAPH, False),
        ("", GRAPH, False),
        (" , ,", GRAPH, False),
        ("a.example, core.internal ,b.example", "http://core.internal:8081/api", True),
        ("core.internal:8081", "http://core.internal:8081/api", True),
        ("core.internal:8082", "http://core.internal:8081/api", False),
        ("core.internal:443", "https://core.internal/api", True),
        ("core.internal", "http://core.internal./api", True),
        (".svc,.cluster.local", "http://core.default.svc", True),
        ("10.0.0.0/8", "http://10.2.3.4:8081", True),
        ("10.0.0.0/8", "http://11.2.3.4:8081", False),
        ("10.2.3.4", "http://10.2.3.4:8081", True),
        ("10.2.3.4:8081", "http://10.2.3.4:8081", True),
        ("fd00::/8", "http://[fd00::5]:8081", True),
        ("[fd00::5]:8081", "http://[fd00::5]:8081", True),
        ("fd00::5", "http://[fd00::6]:8081", False),
        ("10.0.0.0/8", GRAPH, False),
    ],
)
def test_no_proxy_names_hosts_domains_networks_and_ports(no_proxy: str, url: str, *, direct: bool) -> None:
    assert (through(url, no_proxy) is None) is direct


def test_a_login_is_decoded_and_never_shown() -> None:
    proxy = Proxies({"HTTPS_PROXY": "http://me:p%40s%23s@proxy.example:3128"}).for_url(GRAPH)
    assert proxy is not None
    assert proxy.authorization == f"Basic {base64.b64encode(b'me:p@s#s').decode()}"
    assert str(proxy) == "the proxy proxy.example:3128 (HTTPS_PROXY)"
    assert "p@s#s" not in repr(proxy)
    assert (proxy.authorization or "") not in repr(proxy)


@pytest.mark.parametrize(
    "value",
    [
        "http://me:hunter#2@proxy.example:3128",
        "http://me:hunter/2@proxy.example:3128",
        "http://me:hunter?2@proxy.example",
        "http://proxy.example:hunter2",
        "socks5://hunter2.example:1080",
        "http://[hunter2",
        "http://",
    ],
)
def test_an_invalid_proxy_is_a_configuration_error_that_does_not_quote_it(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY: ") as wrong:
        Proxies({"HTTPS_PROXY": value})
    assert "hunter" not in str(wrong.value)


def test_both_variables_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        Proxies({"HTTPS_PROXY": "ftp://x", "http_proxy": "ftp://x"})
    assert [problem.partition(":")[0] for problem in wrong.value.problems] == ["http_proxy", "HTTPS_PROXY"]


@pytest.mark.parametrize("entry", ["core.example", "10.0.0", "10.0.0.0/99", "fd00::/8", ".0.0.1"])
def test_an_entry_that_is_not_a_network_of_the_address_leaves_it_to_the_proxy(entry: str) -> None:
    assert through("https://10.0.0.1/", entry) is not None
    assert through("https://10.0.0.1/", f"{entry},10.0.0.1") is None, "the entries after it still count"
