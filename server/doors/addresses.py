"""Where a request comes from and whom it calls: addresses, names of hosts and origins. Pure functions of a scope."""

import re
from ipaddress import ip_address

from starlette.types import Scope

__all__ = [
    "HOST_PATTERN",
    "header_values",
    "is_from_this_machine",
    "is_loopback_name",
    "is_on_loopback",
    "is_same_origin",
    "origin_of",
]

HOST_PATTERN = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
"""A Host header in lower case."""

_ORIGIN_PATTERN = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#@]+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """All values of a header, by its name in lower case."""
    return [value for key, value in scope["headers"] if key == name]


def is_on_loopback(scope: Scope) -> bool:
    """Whether the connection ends on an address that only this machine can reach."""
    server = scope.get("server")
    if server is None:
        return True
    address = str(server[0])
    return "/" in address or _is_loopback_address(address)  # with a slash it is a Unix socket's path


def is_from_this_machine(scope: Scope) -> bool:
    """Whether the caller is on this machine too, and not behind a proxy on it that says that it forwards."""
    return is_on_loopback(scope) and not any(header_values(scope, name) for name in _FORWARDED)


def is_loopback_name(name: str) -> bool:
    """Whether a name of a host, in lower case and without a port, is one of this machine for itself."""
    return name.rstrip(".") == "localhost" or _is_loopback_address(name.strip("[]"))


def origin_of(text: str) -> tuple[str, int] | None:
    """The host and the port of an origin such as `https://example.org`, None if it is no such thing."""
    match = _ORIGIN_PATTERN.fullmatch(text.lower())
    host = HOST_PATTERN.fullmatch(match["host"]) if match else None
    if match is None or host is None:
        return None
    return host["name"], int(host["port"] or _DEFAULT_PORTS[match["scheme"]])


def is_same_origin(origin: str, host: str) -> bool:
    """Whether a page's origin is the server that a Host header names. A port left out is the scheme's."""
    ours = origin_of(f"{origin.lower().split('://')[0]}://{host}")
    return ours is not None and origin_of(origin) == ours


def _is_loopback_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
