"""How a person at a browser presents the token: a form without any script, answered with a cookie."""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from ml_trainer_env.server.doors.bodies import BodyTooLargeError, read_body

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
</html>
"""
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def login_page(status: int, headers: Mapping[str, str], told: str = "This server asks for its token.") -> Response:
    """The form."""
    return HTMLResponse(_PAGE.format(told=told, action=LOGIN_PATH), status, {**_PAGE_HEADERS, **headers})


async def log_in(scope: Scope, receive: Receive, is_token: Callable[[bytes], bool], cookie: str) -> Response:
    """Answer the form: with the cookie, or with the form once more.

    Args:
        scope: The request.
        receive: Where its body comes from.
        is_token: Whether what was typed is the token.
        cookie: Name and value of the cookie that stands for it.
    """
    try:
        body = await read_body(receive, MAX_LOGIN_BYTES)
    except BodyTooLargeError as error:
        return login_page(413, {}, str(error))
    given = parse_qs((body or b"").decode("latin-1"), encoding="latin-1").get("token", [""])[0]
    if not is_token(given.strip().encode("latin-1", "replace")):
        return login_page(401, {"WWW-Authenticate": "Bearer"}, "That is not the token.")
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    headers = {"Set-Cookie": f"{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}", "Cache-Control": "no-store"}
    return RedirectResponse(PAGE_PATH, 303, headers)
