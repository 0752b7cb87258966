"""A person at a browser: a form instead of a page, and a cookie instead of a header."""

import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import pytest

TOKEN = "correct-horse&battery=1"
COOKIE = hmac.new(TOKEN.encode(), b"ml_trainer_token", hashlib.sha256).hexdigest()
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = urlencode({"token": TOKEN}).encode()


@pytest.mark.parametrize("path", ["/web", "/web/", "/", "/docs", "/state", "/login"])
def test_a_page_asked_for_without_token_is_a_form(doors: Any, path: str) -> None:
    page = doors(TOKEN).ask(path, headers=PAGE)

    assert page.status == 401
    assert '<form method="post" action="/login">' in page.text
    assert 'type="password" name="token"' in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


def test_only_pages_are_answered_with_a_form(doors: Any) -> None:
    assert "<form" not in doors(TOKEN).ask(headers={"Accept": "application/json"}).text
    assert "<form" not in doors(TOKEN).ask(headers={"Accept": "*/*"}).text
    assert "<form" not in doors(TOKEN).ask("/reset", method="POST", headers=PAGE).text
    assert "<form" not in doors(TOKEN).ask(websocket=True, headers=PAGE).text


def test_the_token_typed_into_the_form_is_answered_with_a_cookie_that_opens_the_page(doors: Any) -> None:
    door = doors(TOKEN)

    entered = door.ask("/login", method="POST", body=FORM, headers={"Origin": "http://localhost:8000"})

    assert (entered.status, entered.headers["location"]) == (303, "/web")
    assert entered.headers["set-cookie"] == f"ml_trainer_token={COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert door.ask(headers={"Cookie": cookie}).status == 200
    assert door.ask(headers={"Cookie": cookie}, websocket=True).status == 101


def test_the_cookie_does_not_tell_the_token_and_is_none_of_a_server_with_another(doors: Any) -> None:
    assert TOKEN not in COOKIE
    assert doors(f"{TOKEN}!").ask(headers={"Cookie": f"ml_trainer_token={COOKIE}"}).status == 401
    assert doors("").ask(server=("203.0.113.7", 80), headers={"Cookie": f"ml_trainer_token={COOKIE}"}).status == 401


def test_the_cookie_is_kept_to_https_where_the_form_came_by_it(doors: Any) -> None:
    entered = doors(TOKEN).ask("/login", method="POST", body=FORM, scheme="https")

    assert entered.headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize(
    "body",
    [b"", b"token=", b"token=wrong", b"token=%ff%fe", b"token=\xff", b"other=1", b"{}", b"&" * 3_000, TOKEN.encode()],
)
def test_anything_else_is_answered_with_the_form_again(doors: Any, body: bytes) -> None:
    page = doors(TOKEN).ask("/login", method="POST", body=body)

    assert page.status == 401
    assert "That is not the token" in page.text
    assert "set-cookie" not in page.headers


def test_what_was_typed_is_not_shown_again(doors: Any) -> None:
    assert "<b>typo</b>" not in doors(TOKEN).ask("/login", method="POST", body=b"token=<b>typo</b>").text


def test_a_form_is_not_as_large_as_a_body_may_be(doors: Any) -> None:
    assert doors(TOKEN).ask("/login", method="POST", body=FORM + b"&a=" + b"a" * 4_000).status == 413


def test_a_page_of_another_server_logs_nobody_in(doors: Any) -> None:
    page = doors(TOKEN).ask("/login", method="POST", body=FORM, headers={"Origin": "http://evil.example"})

    assert page.status == 403
    assert "set-cookie" not in page.headers


def test_a_server_without_token_has_no_form(doors: Any) -> None:
    answer = doors("").ask("/web", server=("203.0.113.7", 8000), headers=PAGE)

    assert answer.status == 401
    assert "ML_TRAINER_TOKEN" in answer.detail
