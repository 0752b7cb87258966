"""Who may come in from where: by the address that a connection ends on, the Host header and the Origin header."""

from typing import Any

import pytest

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ELSEWHERE = ("203.0.113.7", 8000)
SOCKETS = pytest.mark.parametrize("websocket", [False, True], ids=["http", "websocket"])

LOOPBACK = [
    ("127.0.0.1", 8000),
    ("127.8.9.1", 8000),
    ("::1", 8000),
    ("::ffff:127.0.0.1", 8000),
    ("/run/trainer.sock", None),
    None,
]
OTHER = [("203.0.113.7", 8000), ("10.0.0.1", 80), ("2001:db8::1", 8000), ("::ffff:10.0.0.1", 80), ("here", None)]


PROXY_HEADERS = [
    *("Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"),
    *("X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-User", "X-Forwarded", "X-Forwarded-Anything-New"),
    *("X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "Client-IP", "True-Client-IP", "X-Remote-IP"),
    *("CF-Connecting-IP", "CF-Ray", "CF-Visitor", "CF-IPCountry", "CDN-Loop"),  # Cloudflare, cloudflared
    *("Fastly-Client-IP", "Fastly-SSL", "X-Akamai-Edgescape", "CloudFront-Viewer-Address", "X-Amz-Cf-Id"),
    *("X-Original-URI", "X-Original-Host", "X-Original-Forwarded-For", "X-Originating-IP", "X-Scheme"),
    *("X-Envoy-External-Address", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Amzn-Trace-Id", "X-Amzn-TLS-Version"),
    *("X-Azure-ClientIP", "X-Azure-FDID", "X-ARR-SSL", "X-AppEngine-User-IP", "X-Cloud-Trace-Context"),
    *("Fly-Client-IP", "Fly-Forwarded-Proto", "X-Vercel-Id", "X-NF-Client-Connection-IP", "Rndr-Id"),
    *("Tailscale-User-Login", "ngrok-skip-browser-warning", "X-Tunnel-Authorization", "X-Request-Start"),
    *("Proxy-Connection", "X-ProxyUser-Ip", "X-ProxyContextPath", "X-Varnish", "Front-End-Https"),
]
CLIENT_HEADERS = [
    *("User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Connection", "Upgrade", "Referer"),
    *("Cache-Control", "Pragma", "DNT", "Priority", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-CH-UA", "Sec-GPC"),
    *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Upgrade-Insecure-Requests"),
    *("Content-Type", "Content-Length", "Mcp-Session-Id", "MCP-Protocol-Version", "Last-Event-ID", "X-API-Key"),
    *("traceparent", "tracestate", "baggage", "X-Request-ID", "X-Requested-With", "X-Stainless-Lang", "X-Gradio-User"),
]


class TestToken:
    """Without a token this machine comes in, and nobody else."""

    @SOCKETS
    @pytest.mark.parametrize("server", LOOPBACK, ids=str)
    def test_this_machine_comes_in(self, secured: Any, server: Any, websocket: bool) -> None:
        assert secured("").ask(server=server, websocket=websocket).status in {101, 200}

    @SOCKETS
    @pytest.mark.parametrize("server", OTHER, ids=str)
    def test_another_machine_does_not_and_is_told_what_to_set(self, secured: Any, server: Any, websocket: bool) -> None:
        closed = secured("")

        answer = closed.ask(server=server, websocket=websocket)

        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "ML_TRAINER_TOKEN" in answer.detail
        assert "`off`" in answer.detail
        assert closed.inside.seen == []

    @SOCKETS
    @pytest.mark.parametrize("header", PROXY_HEADERS)
    def test_who_comes_through_a_proxy_on_this_machine_is_not_on_this_machine(
        self, secured: Any, header: str, websocket: bool
    ) -> None:
        for name in (header, header.upper(), header.replace("-", "_")):
            for value in ("127.0.0.1", ""):
                closed = secured("")

                assert closed.ask(headers={name: value}, websocket=websocket).status == 401
                assert closed.inside.seen == []

    @SOCKETS
    def test_what_a_client_sends_by_itself_shows_no_proxy(self, secured: Any, websocket: bool) -> None:
        assert secured("").ask(headers=dict.fromkeys(CLIENT_HEADERS, "1"), websocket=websocket).status in {101, 200}

    def test_no_header_makes_a_caller_local(self, secured: Any) -> None:
        claims = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "Forwarded": "for=127.0.0.1"}

        assert secured("").ask(server=ELSEWHERE, headers=claims).status == 401

    @SOCKETS
    @pytest.mark.parametrize("server", [*LOOPBACK, *OTHER], ids=str)
    def test_with_a_token_everybody_needs_it(self, secured: Any, server: Any, websocket: bool) -> None:
        closed = secured(TOKEN)

        assert closed.ask(server=server, websocket=websocket).status == 401
        assert closed.ask(server=server, websocket=websocket, headers=BEARER).status in {101, 200}

    @SOCKETS
    @pytest.mark.parametrize("server", [*LOOPBACK, *OTHER], ids=str)
    def test_off_lets_everybody_in(self, secured: Any, server: Any, websocket: bool) -> None:
        assert secured("off").ask(server=server, websocket=websocket).status in {101, 200}

    def test_a_server_that_cannot_refuse_a_socket_in_words_closes_it_before_it_opens(self, secured: Any) -> None:
        closed = secured(TOKEN)

        answer = closed.ask(websocket=True, extensions={})

        assert answer.messages == [{"type": "websocket.close", "code": 1008}]
        assert closed.inside.seen == []

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN.upper()}",
            f"Bearer {TOKEN}, Bearer {TOKEN}",
            "Bearer \xff",
        ],
    )
    def test_nothing_but_the_token_is_the_token(self, secured: Any, given: str) -> None:
        assert secured(TOKEN).ask(headers={"Authorization": given}).status == 401

    @pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
    def test_the_scheme_may_be_written_in_any_way(self, secured: Any, given: str) -> None:
        assert secured(TOKEN).ask(headers={"Authorization": given}).status == 200

    @pytest.mark.parametrize("path", ["/health", "/ready"])
    @pytest.mark.parametrize("rule", ["", TOKEN, "off"])
    def test_probes_come_in_from_anywhere_by_any_name(self, secured: Any, path: str, rule: str) -> None:
        opened = secured(rule, ["example.org"])

        assert opened.ask(path, server=ELSEWHERE, host="10.0.0.9:8000").status == 200
        assert opened.ask(path, host=None).status == 200

    @pytest.mark.parametrize(
        "path", ["/health/", "//health", "/health/../state", "/ready/x", "/HEALTH", "/web/health", ""]
    )
    def test_nothing_that_looks_like_a_probe_is_one(self, secured: Any, path: str) -> None:
        assert secured(TOKEN).ask(path).status == 401

    def test_probes_only_look(self, secured: Any) -> None:
        assert secured(TOKEN).ask("/health", method="POST").status == 401
        assert secured(TOKEN).ask("/health", websocket=True).status == 401


class TestHost:
    """A request calls the server by a name of its own."""

    @SOCKETS
    @pytest.mark.parametrize(
        "host",
        ["localhost", "LOCALHOST:9", "localhost.", "127.0.0.1", "127.0.0.1:65535", "127.1.2.3:80", "[::1]", "[::1]:80"],
    )
    def test_on_loopback_a_loopback_name_is_right(self, secured: Any, host: str, websocket: bool) -> None:
        assert secured("").ask(host=host, websocket=websocket).status in {101, 200}

    @SOCKETS
    @pytest.mark.parametrize("rule", ["", TOKEN, "off"])
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
    )
    def test_on_loopback_another_name_is_wrong_whatever_the_token(
        self, secured: Any, host: str, rule: str, websocket: bool
    ) -> None:
        closed = secured(rule)

        answer = closed.ask(host=host, websocket=websocket, headers=BEARER)

        assert answer.status == 403
        assert "ML_TRAINER_ALLOWED_HOSTS" in answer.detail
        assert closed.inside.seen == []

    @pytest.mark.parametrize("host", [None, "", "a b", "a/b", "local host", "[::1", "::1", "a:b", "a:123456", "\xe4"])
    def test_no_name_at_all_is_a_bad_request(self, secured: Any, host: str | None) -> None:
        assert secured("").ask(host=host).status == 400

    def test_a_name_that_is_allowed_is_right_beside_those_of_loopback(self, secured: Any) -> None:
        app = secured("", ["trainer.example"])

        assert app.ask(host="trainer.example").status == 200
        assert app.ask(host="Trainer.Example:8443").status == 200
        assert app.ask(host="localhost").status == 200
        assert app.ask(host="other.example").status == 403

    def test_elsewhere_any_name_is_right_until_some_are_listed(self, secured: Any) -> None:
        assert secured("off").ask(server=ELSEWHERE, host="any.example").status == 200

        listed = secured("off", ["trainer.example"])
        assert listed.ask(server=ELSEWHERE, host="trainer.example").status == 200
        assert listed.ask(server=ELSEWHERE, host="any.example").status == 403
        assert listed.ask(server=ELSEWHERE, host="localhost").status == 403


class TestOrigin:
    """A page calls the server that it came from."""

    @SOCKETS
    @pytest.mark.parametrize(
        ("host", "origin"),
        [
            ("localhost:8000", "http://localhost:8000"),
            ("LocalHost:8000", "http://localhost:8000"),
            ("127.0.0.1", "http://127.0.0.1"),
            ("127.0.0.1:80", "http://127.0.0.1"),
            ("localhost", "https://localhost"),
            ("localhost:443", "https://localhost"),
            ("[::1]:8000", "http://[::1]:8000"),
        ],
    )
    def test_its_own_pages_may(self, secured: Any, host: str, origin: str, websocket: bool) -> None:
        assert secured("").ask(host=host, headers={"Origin": origin}, websocket=websocket).status in {101, 200}

    @SOCKETS
    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.example",
            "http://localhost",
            "http://localhost:9000",
            "http://127.0.0.1:8000",
            "https://localhost",
            "http://localhost:8000.evil.example",
            "http://evil.example@localhost:8000",
            "http://localhost:8000/",
            "file://localhost:8000",
            "null",
            "",
            "http://",
        ],
    )
    @pytest.mark.parametrize("rule", ["", TOKEN, "off"])
    def test_no_other_page_may(self, secured: Any, origin: str, rule: str, websocket: bool) -> None:
        closed = secured(rule)

        answer = closed.ask(headers={"Origin": origin, **BEARER}, websocket=websocket)

        assert answer.status == 403
        assert "ML_TRAINER_ALLOWED_ORIGINS" in answer.detail
        assert closed.inside.seen == []

    def test_a_page_that_is_listed_may_and_its_browser_is_told_so(self, secured: Any) -> None:
        origin = "https://pages.example:8443"
        app = secured(TOKEN, origins=[origin])

        answer = app.ask(headers={"Origin": origin, **BEARER})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
        assert app.ask(headers={"Origin": origin, **BEARER}, websocket=True).status == 101
        assert app.ask(headers={"Origin": origin}).status == 401

        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        before = app.ask(method="OPTIONS", headers={"Origin": origin, **asked})
        assert (before.status, before.headers["access-control-allow-headers"]) == (200, "authorization")

    def test_no_browser_is_told_anything_of_that_otherwise(self, secured: Any) -> None:
        answer = secured(TOKEN).ask(headers={"Origin": "http://localhost:8000", **BEARER})

        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
