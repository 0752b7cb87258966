"""Sign-in with a token. A signed cookie identifies the token.

The cookie contains the token's lookup, an expiry time and a signature, but no secret. It is sent only from pages of
this site (SameSite=Strict), so that other sites cannot act for the user. Revoking the token ends the session.
"""

import hashlib
import hmac
import time

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Scope, Token
from ml_trainer_env.arena.tokens.service import Caller

__all__ = ["SIGNED_IN_S", "forget", "remember", "signed_in"]

COOKIE = "arena_session"
SIGNED_IN_S = 7 * 24 * 3600


def remember(response: Response, services: Services, caller: Caller) -> None:
    """Set the cookie of a caller."""
    expires = int(time.time()) + SIGNED_IN_S
    value = f"{caller.lookup}.{expires}.{_signature(services, caller.lookup, expires)}"
    secure = services.settings.base_url.startswith("https://")
    response.set_cookie(COOKIE, value, max_age=SIGNED_IN_S, httponly=True, samesite="strict", secure=secure)


def forget(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(COOKIE)


def signed_in(request: Request, services: Services, session: Session) -> Caller | None:
    """Get the signed-in caller, or None."""
    lookup, _, rest = request.cookies.get(COOKIE, "").partition(".")
    expires, _, signature = rest.partition(".")
    if not expires.isdecimal() or len(expires) > 12 or int(expires) < time.time():
        return None
    if not hmac.compare_digest(signature.encode(), _signature(services, lookup, int(expires)).encode()):
        return None
    token = session.scalar(sa.select(Token).where(Token.lookup == lookup))
    if token is None or token.revoked_at is not None or (token.expires_at or time.time() + 1) < time.time():
        return None
    return Caller(token.user_id, token.user.name, Scope(token.scope), token.lookup)


def _signature(services: Services, lookup: str, expires: int) -> str:
    return hmac.new(services.key, f"session {lookup} {expires}".encode(), hashlib.sha256).hexdigest()
