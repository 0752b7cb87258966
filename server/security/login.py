"""Sign-in for browsers: an HTML form without scripts that sets a cookie.

Another site may frame the page, as Hugging Face does with a Space. There browsers send a cookie only with
`SameSite=None; Secure`, and some only with `Partitioned` too. That needs HTTPS. `HostMiddleware` (`Origin`) and
`TokenMiddleware` (`Sec-Fetch-Site`) refuse cross-site requests in place of `SameSite=Strict`. If a browser blocks the
cookie, a link opens the page in its own tab.
"""

import html
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, quote

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from ml_trainer_env.server.security.addresses import header_values, is_https
from ml_trainer_env.server.security.bodies import BodyTooLargeError, read_body
from ml_trainer_env.server.security.paths import route_path

__all__ = ["FIRST_PAGES", "LOGIN_PATH", "ROOM_PATH", "log_in", "login_page"]

LOGIN_PATH = "/login"
PAGE_PATH = "/web"
FIRST_PAGES = frozenset({"/", PAGE_PATH})
"""Other paths of the training room's first page. Hugging Face shows the second one of a Space."""

ROOM_PATH = "/room"
_ROOM_PAGE = re.compile(r"/room([/?][!-~]*)?")
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
<p role="status">{message}</p>
<form method="post" action="{action}">
{page}<label>Token <input type="password" name="token" required autofocus autocomplete="current-password"></label>
<button>Sign in</button>
</form>
{link}</html>
"""
_NEXT_PAGE = '<input type="hidden" name="page" value="{page}">\n'
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
    message: str = "This server asks for its token.",
) -> Response:
    """Return the form. It has a link to the page's own address if the page may be framed.

    Args:
        scope: The request.
        status: Status of the response.
        headers: Further headers.
        public_host: Public host name of the server, if known.
        message: Text above the form.
    """
    is_framed = header_values(scope, b"sec-fetch-dest") in ([b"iframe"], [b"frame"])
    address = f"https://{public_host}{PAGE_PATH}" if public_host else PAGE_PATH
    link = _LINK.format(address=html.escape(address)) if public_host or is_framed else ""
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    page = quote(route_path(scope)) + (f"?{query}" if query else "")
    asked = _NEXT_PAGE.format(page=html.escape(page)) if _ROOM_PAGE.fullmatch(page) else ""
    form = _PAGE.format(message=message, action=LOGIN_PATH, link=link, page=asked)
    return HTMLResponse(form, status, {**_PAGE_HEADERS, **headers})


async def log_in(
    scope: Scope,
    receive: Receive,
    cookie_for: Callable[[bytes], str | None],
    public_host: str | None = None,
) -> Response:
    """Handle the submitted form. Return a redirect with the cookie, or the form again.

    Args:
        scope: The request.
        receive: Receives its body.
        cookie_for: Returns name and value of the cookie for a token. None for a value that is no token.
        public_host: Public host name of the server, if known.
    """
    try:
        body = await read_body(receive, MAX_LOGIN_BYTES)
    except BodyTooLargeError as error:
        return login_page(scope, 413, {}, public_host, str(error))
    fields = parse_qs((body or b"").decode("latin-1"), encoding="latin-1")
    given, asked = (fields.get(name, [""])[0] for name in ("token", "page"))
    cookie = cookie_for(given.strip().encode("latin-1", "replace"))
    if cookie is None:
        return login_page(scope, 401, {"WWW-Authenticate": "Bearer"}, public_host, "That is not the token.")
    # Starlette's set_cookie supports `Partitioned` only on Python 3.14.
    attributes = "SameSite=None; Secure; Partitioned" if is_https(scope) else "SameSite=Strict"
    page = asked if _ROOM_PAGE.fullmatch(asked) else PAGE_PATH
    headers = {"Set-Cookie": f"{cookie}; Path=/; HttpOnly; {attributes}", "Cache-Control": "no-store"}
    return RedirectResponse(page, 303, headers)
