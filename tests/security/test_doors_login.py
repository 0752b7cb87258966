"""A person at a browser: a form instead of a page, and a cookie instead of a header."""

import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest

from ml_trainer_env.server.settings import Settings

TOKEN = "correct-horse&battery=1"
COOKIE = hmac.new(TOKEN.encode(), b"ml_trainer_token", hashlib.sha256).hexdigest()
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = urlencode({"token": TOKEN}).encode()


@pytest.mark.parametrize("path", ["/web", "/web/", "/", "/docs", "/state", "/login"])
def test_a_page_asked_for_without_token_is_a_form(secured: Any, path: str) -> None:
    page = secured(TOKEN).ask(path, headers=PAGE)

    assert page.status == 401
    assert '<form method="post" action="/login">' in page.text
    assert 'type="password" name="token"' in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


def test_only_pages_are_answered_with_a_form(secured: Any) -> None:
    assert "<form" not in secured(TOKEN).ask(headers={"Accept": "application/json"}).text
    assert "<form" not in secured(TOKEN).ask(headers={"Accept": "*/*"}).text
    assert "<form" not in secured(TOKEN).ask("/reset", method="POST", headers=PAGE).text
    assert "<form" not in secured(TOKEN).ask(websocket=True, headers=PAGE).text


def test_the_token_typed_into_the_form_is_answered_with_a_cookie_that_opens_the_page(secured: Any) -> None:
    app = secured(TOKEN)

    entered = app.ask("/login", method="POST", body=FORM, headers={"Origin": "http://localhost:8000"})

    assert (entered.status, entered.headers["location"]) == (303, "/web")
    assert entered.headers["set-cookie"] == f"ml_trainer_token={COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert app.ask(headers={"Cookie": cookie}).status == 200
    assert app.ask(headers={"Cookie": cookie}, websocket=True).status == 101


def test_the_cookie_does_not_tell_the_token_and_is_none_of_a_server_with_another(secured: Any) -> None:
    assert TOKEN not in COOKIE
    assert secured(f"{TOKEN}!").ask(headers={"Cookie": f"ml_trainer_token={COOKIE}"}).status == 401
    assert secured("").ask(server=("203.0.113.7", 80), headers={"Cookie": f"ml_trainer_token={COOKIE}"}).status == 401


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("https", {}),
        ("http", {"X-Forwarded-Proto": "https"}),
        ("http", {"X-Forwarded-Proto": "HTTPS, http"}),
    ],
)
def test_behind_https_the_cookie_reaches_a_frame_of_another_site(
    secured: Any, scheme: str, headers: dict[str, str]
) -> None:
    entered = secured(TOKEN).ask("/login", method="POST", body=FORM, scheme=scheme, headers=headers)

    first, *attributes = entered.headers["set-cookie"].split("; ")
    assert first == f"ml_trainer_token={COOKIE}"
    assert sorted(attributes) == ["HttpOnly", "Partitioned", "Path=/", "SameSite=None", "Secure"]


@pytest.mark.parametrize("proto", ["http", "", "httpsx", "http, https"])
def test_without_https_the_cookie_stays_at_home(secured: Any, proto: str) -> None:
    entered = secured(TOKEN).ask("/login", method="POST", body=FORM, headers={"X-Forwarded-Proto": proto})

    assert entered.headers["set-cookie"].endswith("; HttpOnly; SameSite=Strict")


SIGNED_IN = {"Cookie": f"ml_trainer_token={COOKIE}", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate", "websocket", ""])
def test_the_cookie_opens_nothing_to_a_page_of_another_site_but_a_page(secured: Any, method: str, mode: str) -> None:
    opens = (method, mode) == ("GET", "navigate")
    app = secured(TOKEN)

    headers = {**SIGNED_IN, "Sec-Fetch-Mode": mode}
    assert app.ask(headers=headers, method=method).status == (200 if opens else 401)
    assert app.ask(headers={**headers, "Origin": "https://example.org"}, method=method).status == 403
    assert app.ask(headers={**headers, "Origin": "null"}, method=method).status == 403
    assert app.ask(headers=headers, websocket=True).status == 401


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_the_cookie_opens_what_the_servers_own_pages_ask_for(secured: Any, site: str) -> None:
    headers = {**SIGNED_IN, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}

    assert secured(TOKEN).ask(headers=headers, method="POST").status == 200


def test_the_token_itself_is_for_everybody_who_has_it(secured: Any) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}

    assert secured(TOKEN).ask(headers=headers, method="POST").status == 200


class TestLink:
    """A way out of the frame, where the page may lie in one."""

    def test_a_space_links_to_its_own_address(self, secured: Any) -> None:
        page = secured(TOKEN, public_host="owner-name.hf.space").ask("/web", headers=PAGE)

        assert '<a href="https://owner-name.hf.space/web" target="_blank" rel="noopener">' in page.text

    def test_a_refused_token_shows_the_link_again(self, secured: Any) -> None:
        page = secured(TOKEN, public_host="owner-name.hf.space").ask("/login", method="POST", body=b"token=wrong")

        assert 'href="https://owner-name.hf.space/web"' in page.text

    def test_in_a_frame_the_link_is_there_without_a_name(self, secured: Any) -> None:
        page = secured(TOKEN).ask("/web", headers={**PAGE, "Sec-Fetch-Dest": "iframe"})

        assert '<a href="/web" target="_blank"' in page.text

    def test_in_a_tab_of_its_own_there_is_none(self, secured: Any) -> None:
        assert "<a " not in secured(TOKEN).ask("/web", headers={**PAGE, "Sec-Fetch-Dest": "document"}).text

    @pytest.mark.parametrize("name", ['"><script>', "a b", "javascript:alert(1)", "https://example.org"])
    def test_what_is_no_name_is_no_link(self, secured: Any, name: str) -> None:
        assert "<a " not in secured(TOKEN, public_host=name).ask("/web", headers=PAGE).text

    def test_the_name_comes_from_the_space(self) -> None:
        settings = Settings.from_environment({"SPACE_HOST": "Owner-Name.hf.space"})

        assert settings.access.public_host == "owner-name.hf.space"
        assert Settings.from_environment({}).access.public_host is None


@pytest.mark.parametrize(
    "body",
    [b"", b"token=", b"token=wrong", b"token=%ff%fe", b"token=\xff", b"other=1", b"{}", b"&" * 3_000, TOKEN.encode()],
)
def test_anything_else_is_answered_with_the_form_again(secured: Any, body: bytes) -> None:
    page = secured(TOKEN).ask("/login", method="POST", body=body)

    assert page.status == 401
    assert "That is not the token" in page.text
    assert "set-cookie" not in page.headers


def test_what_was_typed_is_not_shown_again(secured: Any) -> None:
    assert "<b>typo</b>" not in secured(TOKEN).ask("/login", method="POST", body=b"token=<b>typo</b>").text


def test_a_form_is_not_as_large_as_a_body_may_be(secured: Any) -> None:
    assert secured(TOKEN).ask("/login", method="POST", body=FORM + b"&a=" + b"a" * 4_000).status == 413


def test_a_page_of_another_server_logs_nobody_in(secured: Any) -> None:
    page = secured(TOKEN).ask("/login", method="POST", body=FORM, headers={"Origin": "http://evil.example"})

    assert page.status == 403
    assert "set-cookie" not in page.headers


def test_whoever_is_signed_in_may_sign_in_with_another_token(secured: Any) -> None:
    app, cookie = secured(TOKEN), {"Cookie": f"ml_trainer_token={COOKIE}"}

    form = app.ask("/login", headers={**PAGE, **cookie})
    entered = app.ask("/login", method="POST", body=FORM, headers=cookie)

    assert (form.status, entered.status) == (200, 303)
    assert '<form method="post" action="/login">' in form.text


def test_a_server_without_token_has_no_form(secured: Any) -> None:
    answer = secured("").ask("/web", server=("203.0.113.7", 8000), headers=PAGE)

    assert answer.status == 401
    assert "ML_TRAINER_TOKEN" in answer.detail
