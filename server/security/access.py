"""Who may come in: the values that the doors go by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.security.addresses import HOST_PATTERN, origin_of

__all__ = ["Access", "AccessError"]

MIN_TOKEN_LENGTH = 16
OFF = "off"


class AccessError(MLTrainerError, ValueError):
    """A rule of who may come in is none. The message names its variable and what was expected, never a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in.

    Attributes:
        token: The secret that everybody must present. If None, only callers on this machine come in.
        open_to_all: Nobody must present anything, wherever they call from.
        allowed_hosts: Names that a request may call this server by, without ports, besides loopback names on
            loopback connections. If empty, connections from other machines may use any name.
        allowed_origins: Pages on other servers that may call this one, such as `https://example.org:8443`.
        public_host: Name of this server's own address, which the sign-in page links to; None if it is not known.
    """

    token: str | None = field(default=None, repr=False)
    open_to_all: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    public_host: str | None = None

    @classmethod
    def of(cls, token: str, hosts: Iterable[str] = (), origins: Iterable[str] = (), public_host: str = "") -> Self:
        """Read the rules as people write them.

        Args:
            token: A secret of at least 16 visible ASCII characters, `off`, or nothing.
            hosts: Names of hosts.
            origins: Origins of pages.
            public_host: This server's name on the web, or nothing. A malformed one is left out.

        Raises:
            AccessError: One of them is not that.
        """
        return cls(
            token=_secret(token) if token and token.lower() != OFF else None,
            open_to_all=token.lower() == OFF,
            allowed_hosts=frozenset(map(_host, hosts)),
            allowed_origins=frozenset(map(_origin, origins)),
            public_host=public_host.lower() if HOST_PATTERN.fullmatch(public_host.lower()) else None,
        )


def _secret(text: str) -> str:
    if len(text) < MIN_TOKEN_LENGTH or not re.fullmatch(r"[!-~]+", text):
        raise AccessError(
            f"ML_TRAINER_TOKEN must be `{OFF}` or a secret of at least {MIN_TOKEN_LENGTH} visible ASCII characters, "
            f"without blanks; got {len(text)} characters"
        )
    return text


def _host(text: str) -> str:
    match = HOST_PATTERN.fullmatch(text.lower())
    if match is None or match["port"] is not None:
        raise AccessError(
            f"ML_TRAINER_ALLOWED_HOSTS must be names of hosts without ports, separated by commas, got {text!r}"
        )
    return match["name"]


def _origin(text: str) -> str:
    if origin_of(text) is None:
        raise AccessError(
            f"ML_TRAINER_ALLOWED_ORIGINS must be origins such as https://example.org, separated by commas, got {text!r}"
        )
    return text.lower()
