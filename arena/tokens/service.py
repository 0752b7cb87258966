"""Creates, revokes and verifies tokens.

A token is `mlk_<scope>_<lookup>_<secret>`. The database stores `lookup` and a hash of the secret. A fast hash is
enough, because the secret has 128 random bits.
"""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.errors import ForbiddenError, NotFoundError, RefusedError, UnauthorizedError
from ml_trainer_env.arena.tables import Scope, Token, User

__all__ = ["Caller", "authenticate", "create_token", "find_or_create_user", "require", "revoke_token"]

PREFIX = "mlk"
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user and the token that was used."""

    user_id: int
    user_name: str
    scope: Scope
    lookup: str


def find_or_create_user(session: Session, name: str) -> User:
    """Get the user with this name. Creates the user if the name is new.

    Raises:
        RefusedError: The name is not 1 to 64 letters, digits, dots, hyphens and underscores.
    """
    if not USER_NAME.fullmatch(name):
        raise RefusedError("a user's name should have 1 to 64 letters, digits, dots, hyphens or underscores")
    user = session.scalar(sa.select(User).where(User.name == name))
    if user is None:
        user = User(name=name)
        session.add(user)
        session.flush()
    return user


def create_token(session: Session, user_name: str, scope: Scope, days: float | None = None) -> str:
    """Create a token. Creates the user if the name is new.

    Args:
        session: A transaction.
        user_name: Owner of the token.
        scope: Permissions of the token.
        days: Lifetime; None for unlimited.

    Returns:
        The token. It cannot be recovered later.

    Raises:
        RefusedError: The user name is invalid.
    """
    user = find_or_create_user(session, user_name)
    lookup, secret = secrets.token_hex(4), secrets.token_hex(16)
    expires = None if days is None else time.time() + days * 24 * 3600
    session.add(Token(user_id=user.id, scope=scope, lookup=lookup, secret_sha256=_hash(secret), expires_at=expires))
    record(session, user.id, "token.create", f"{scope} {lookup}")
    return f"{PREFIX}_{scope}_{lookup}_{secret}"


def revoke_token(session: Session, lookup: str) -> None:
    """Revoke a token.

    Raises:
        NotFoundError: No token has this lookup.
    """
    token = session.scalar(sa.select(Token).where(Token.lookup == lookup))
    if token is None:
        raise NotFoundError(f"there is no token {lookup}")
    token.revoked_at = token.revoked_at or time.time()
    record(session, token.user_id, "token.revoke", lookup)


def authenticate(session: Session, text: str) -> Caller:
    """Verify a token. Returns its owner.

    Args:
        session: A transaction.
        text: The token.

    Raises:
        UnauthorizedError: The token is malformed, unknown, expired or revoked, or its scope was altered.
    """
    parts = text.split("_", 3)
    token = None
    if len(parts) == 4 and parts[0] == PREFIX:
        token = session.scalar(sa.select(Token).where(Token.lookup == parts[2]))
    kept = token.secret_sha256 if token is not None else _hash("")
    proved = hmac.compare_digest(kept, _hash(parts[-1]))
    if token is None or not proved or parts[1] != token.scope:
        raise UnauthorizedError("the token is not known")
    if token.revoked_at is not None or (token.expires_at is not None and token.expires_at < time.time()):
        raise UnauthorizedError("the token has been revoked or has expired")
    return Caller(token.user_id, token.user.name, Scope(token.scope), token.lookup)


def require(caller: Caller, scope: Scope) -> None:
    """Check the scope of a token.

    Raises:
        ForbiddenError: The token has another scope.
    """
    if caller.scope is not scope:
        raise ForbiddenError(f"this needs a token of the scope {scope}, and yours is of the scope {caller.scope}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
