"""Addresses, host names and origins of a request. Pure functions of an ASGI scope."""

import re
from ipaddress import ip_address

from starlette.types import Scope

__all__ = [
    "HOST_PATTERN",
    "header_values",
    "is_cross_site",
    "is_from_this_machine",
    "is_https",
    "is_loopback_name",
    "is_on_loopback",
    "is_same_origin",
    "origin_of",
]

HOST_PATTERN = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
"""A Host header in lower case."""

_ORIGIN_PATTERN = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#@]+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_PROXY_HEADERS = frozenset(
    {
        "via",
        "forwarded",
        "http-forwarded",
        "front-end-https",
        "client-ip",
        "true-client-ip",
        "wl-proxy-client-ip",
        "incap-client-ip",
        "rndr-id",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-real-ip",
        "x-real-port",
        "x-true-client-ip",
        "x-remote-addr",
        "x-remote-ip",
        "x-coming-from",
        "x-host",
        "x-scheme",
        "x-url-scheme",
        "x-script-name",
        "x-request-start",
        "x-cloud-trace-context",
    }
)
_PROXY_PREFIXES = (
    "x-forward",  # the usual, and X-Forward-For
    "x-origin",  # X-Original-*: nginx ingress, Azure, tunnels; X-Originating-IP
    "x-proxy",
    "proxy-",
    "cdn-",  # CDN-Loop (RFC 8586)
    "cf-",  # Cloudflare, cloudflared
    "cloudfront-",
    "fastly-",
    "fly-",
    "ngrok-",
    "tailscale-",  # serve and funnel
    "akamai-",
    "x-akamai-",
    "x-amz-",
    "x-amzn-",
    "x-appengine-",
    "x-arr-",  # Azure App Service
    "x-azure-",
    "x-bluecoat-",
    "x-cdn-",
    "x-edge-",
    "x-envoy-",
    "x-fastly-",
    "x-goog-",
    "x-nf-",  # Netlify
    "x-nginx-",
    "x-railway-",
    "x-replit-",
    "x-sucuri-",
    "x-traefik-",
    "x-tunnel-",
    "x-varnish",
    "x-vercel-",
)
"""Prefixes of headers that reverse proxies, tunnels, load balancers and content delivery networks add to requests."""


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Return all values of a header. The name is in lower case."""
    return [value for key, value in scope["headers"] if key == name]


def is_on_loopback(scope: Scope) -> bool:
    """Whether the server side of the connection has a loopback address or is a Unix socket."""
    server = scope.get("server")
    if server is None:
        return True
    address = str(server[0])
    return "/" in address or _is_loopback_address(address)  # a slash: path of a Unix socket


def is_from_this_machine(scope: Scope) -> bool:
    """Whether the caller is on this machine: the connection is local, and no header was added by a proxy."""
    return is_on_loopback(scope) and not any(_shows_proxy(name) for name, _ in scope["headers"])


def is_https(scope: Scope) -> bool:
    """Whether this server or a proxy in front of it says that the client's connection is encrypted.

    A client can forge this. Use it only where a forged value cannot harm other clients.
    """
    claimed = header_values(scope, b"x-forwarded-proto")
    return scope.get("scheme") in {"https", "wss"} or any(_first(value) in {b"https", b"wss"} for value in claimed)


def is_cross_site(scope: Scope) -> bool:
    """Whether a browser marks the request as cross-site. Navigation to a page of this server does not count."""
    if b"cross-site" not in header_values(scope, b"sec-fetch-site"):
        return False
    is_get = scope["type"] == "http" and scope["method"] == "GET"
    return not (is_get and header_values(scope, b"sec-fetch-mode") == [b"navigate"])


def is_loopback_name(name: str) -> bool:
    """Whether a host name is a loopback name. The name is in lower case and has no port."""
    return name.rstrip(".") == "localhost" or _is_loopback_address(name.strip("[]"))


def origin_of(text: str) -> tuple[str, int] | None:
    """Return host and port of an origin such as `https://example.org`; None if it is malformed."""
    match = _ORIGIN_PATTERN.fullmatch(text.lower())
    host = HOST_PATTERN.fullmatch(match["host"]) if match else None
    if match is None or host is None:
        return None
    return host["name"], int(host["port"] or _DEFAULT_PORTS[match["scheme"]])


def is_same_origin(origin: str, host: str) -> bool:
    """Whether an origin and a Host header name the same server. The default port is that of the scheme."""
    ours = origin_of(f"{origin.lower().split('://')[0]}://{host}")
    return ours is not None and origin_of(origin) == ours


def _shows_proxy(header: bytes) -> bool:
    """Whether a header of this name is added by a proxy. Some proxies write underscores for hyphens."""
    name = header.decode("latin-1").lower().replace("_", "-")
    return name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES)


def _first(values: bytes) -> bytes:
    """The first of the comma-separated values. The proxy next to the client wrote it."""
    return values.partition(b",")[0].strip().lower()


def _is_loopback_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
