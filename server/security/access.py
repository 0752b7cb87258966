"""Access policy: the token, hosts and origins that the security middleware checks."""

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
    """A setting of the access policy is invalid. The message names the variable and never contains a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """Access policy of a server.

    Attributes:
        token: The secret that every caller must send. If None, only callers on this machine are admitted.
        observer_token: A secret that opens the pages of the training room for reading, and nothing else. None for none.
        operator_token: A secret that opens everything, the moves of episodes to other servers included. None for none:
            then episodes move by the command alone.
        open_to_all: Whether all callers are admitted without a token.
        allowed_hosts: Allowed values of `Host`, without ports. Loopback connections may also use loopback names. If
            empty, connections from other machines may use any name.
        allowed_origins: Origins of other servers whose pages may call this one, such as `https://example.org:8443`.
        public_host: Public host name of this server, for the link on the sign-in page; None if unknown.
    """

    token: str | None = field(default=None, repr=False)
    observer_token: str | None = field(default=None, repr=False)
    operator_token: str | None = field(default=None, repr=False)
    open_to_all: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    public_host: str | None = None

    @classmethod
    def of(
        cls,
        token: str,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        public_host: str = "",
        observer_token: str = "",
        operator_token: str = "",
    ) -> Self:
        """Parse the policy from settings.

        Args:
            token: A secret of at least 16 visible ASCII characters, `off`, or empty.
            hosts: Host names.
            origins: Origins.
            public_host: Public host name, or empty. A malformed name is ignored.
            observer_token: A secret as the token, or empty.
            operator_token: A secret as the token, or empty.

        Raises:
            AccessError: A token, host or origin is malformed, or two tokens are the same.
        """
        _require_different(
            ML_TRAINER_TOKEN=token, ML_TRAINER_OBSERVER_TOKEN=observer_token, ML_TRAINER_OPERATOR_TOKEN=operator_token
        )
        return cls(
            token=_secret("ML_TRAINER_TOKEN", f"`{OFF}` or ", token) if token and token.lower() != OFF else None,
            observer_token=_secret("ML_TRAINER_OBSERVER_TOKEN", "", observer_token) if observer_token else None,
            operator_token=_secret("ML_TRAINER_OPERATOR_TOKEN", "", operator_token) if operator_token else None,
            open_to_all=token.lower() == OFF,
            allowed_hosts=frozenset(map(_host, hosts)),
            allowed_origins=frozenset(map(_origin, origins)),
            public_host=public_host.lower() if HOST_PATTERN.fullmatch(public_host.lower()) else None,
        )


def _require_different(**tokens: str) -> None:
    """Check that no two variables have the same token: each opens something else. Raises AccessError."""
    variables: dict[str, str] = {}
    for variable, token in tokens.items():
        if token and (other := variables.setdefault(token, variable)) != variable:
            raise AccessError(f"{variable} must differ from {other}, because each of them opens something else")


def _secret(variable: str, otherwise: str, text: str) -> str:
    if len(text) < MIN_TOKEN_LENGTH or not re.fullmatch(r"[!-~]+", text):
        raise AccessError(
            f"{variable} must be {otherwise}a secret of at least {MIN_TOKEN_LENGTH} visible ASCII characters, "
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
