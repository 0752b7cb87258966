"""How a person at a browser presents the token: a form without any script, answered with a cookie.

A page may lie in a frame of another site, as a Space does on Hugging Face. Browsers send a cookie there only if it says
`SameSite=None; Secure`, and some only if it is `Partitioned` too: kept apart for each site that frames the page. That
needs HTTPS. What `SameSite=Strict` kept out, requests by pages of other sites, is kept out by `HostDoor` (`Origin`) and
by `TokenDoor` (`Sec-Fetch-Site`). Where a browser blocks the cookie nevertheless, a link opens the page in its own tab.
"""

import html
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from ml_trainer_env.server.security.addresses import header_values, is_https
from ml_trainer_env.server.security.bodies import BodyTooLargeError, read_body

__all__ = ["LOGIN_PATH", "log_in", "login_page"]

LOGIN_PATH = "/login"
PAGE_PATH = "/web"
MAX_LOGIN_BYTES = 4_000

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ML Training Optimizer</title>
<style>
body {{ font: 1rem system-ui, sans-serif; color-scheme: light dark; max-width: 24rem; margin: 20vh auto }}
input, button {{ font: inherit; padding: .4rem .6rem; box-sizing: border-box; width: 100%; margin-top: .5rem }}
</style>
<h1>ML Training Optimizer</h1>
<p role="status">{told}</p>
<form method="post" action="{action}">
<label>Token <input type="password" name="token" required autofocus autocomplete="current-password"></label>
<button>Come in</button>
</form>
{link}</html>
"""
_LINK = """\
<p><a href="{address}" target="_blank" rel="noopener">Open this page in its own tab</a>, if signing in does not work
here.</p>
"""
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def login_page(
    scope: Scope,
    status: int,
    headers: Mapping[str, str],
    public_host: str | None = None,
    told: str = "This server asks for its token.",
) -> Response:
    """The form, with a link to the page's own address where it may lie in a frame.

    Args:
        scope: The request.
        status: Of the response.
        headers: Further headers.
        public_host: The server's own name on the web, if it is known.
        told: What is said above the form.
    """
    is_framed = header_values(scope, b"sec-fetch-dest") in ([b"iframe"], [b"frame"])
    address = f"https://{public_host}{PAGE_PATH}" if public_host else PAGE_PATH
    link = _LINK.format(address=html.escape(address)) if public_host or is_framed else ""
    page = _PAGE.format(told=told, action=LOGIN_PATH, link=link)
    return HTMLResponse(page, status, {**_PAGE_HEADERS, **headers})


async def log_in(
    scope: Scope, receive: Receive, is_token: Callable[[bytes], bool], cookie: str, public_host: str | None = None
) -> Response:
    """Answer the form: with the cookie, or with the form once more.

    Args:
        scope: The request.
        receive: Where its body comes from.
        is_token: Whether what was typed is the token.
        cookie: Name and value of the cookie that stands for it.
        public_host: The server's own name on the web, if it is known.
    """
    try:
        body = await read_body(receive, MAX_LOGIN_BYTES)
    except BodyTooLargeError as error:
        return login_page(scope, 413, {}, public_host, str(error))
    given = parse_qs((body or b"").decode("latin-1"), encoding="latin-1").get("token", [""])[0]
    if not is_token(given.strip().encode("latin-1", "replace")):
        return login_page(scope, 401, {"WWW-Authenticate": "Bearer"}, public_host, "That is not the token.")
    # Starlette's set_cookie writes `Partitioned` on Python 3.14 alone.
    reach = "SameSite=None; Secure; Partitioned" if is_https(scope) else "SameSite=Strict"
    headers = {"Set-Cookie": f"{cookie}; Path=/; HttpOnly; {reach}", "Cache-Control": "no-store"}
    return RedirectResponse(PAGE_PATH, 303, headers)
