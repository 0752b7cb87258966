"""Where a request comes from and whom it calls: addresses, names of hosts and origins. Pure functions of a scope."""

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
"""What reverse proxies, tunnels, load balancers and content delivery networks add to the requests that they pass on."""


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
    """Whether the caller is on this machine too: the connection is local, and no header shows a proxy."""
    return is_on_loopback(scope) and not any(_shows_proxy(name) for name, _ in scope["headers"])


def is_https(scope: Scope) -> bool:
    """Whether the client's own connection is encrypted, as this server or a proxy before it says.

    A client can claim it too. Use it only for what a false claim cannot make less safe for others.
    """
    claimed = header_values(scope, b"x-forwarded-proto")
    return scope.get("scheme") in {"https", "wss"} or any(_first(value) in {b"https", b"wss"} for value in claimed)


def is_cross_site(scope: Scope) -> bool:
    """Whether a browser says that a page of another site sent the request, and not to load a page of this server."""
    if b"cross-site" not in header_values(scope, b"sec-fetch-site"):
        return False
    is_get = scope["type"] == "http" and scope["method"] == "GET"
    return not (is_get and header_values(scope, b"sec-fetch-mode") == [b"navigate"])


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


def _shows_proxy(header: bytes) -> bool:
    """Whether only a proxy adds a header of this name. Some write underscores for hyphens."""
    name = header.decode("latin-1").lower().replace("_", "-")
    return name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES)


def _first(values: bytes) -> bytes:
    """The first of a header's values that are separated by commas: the one of the proxy next to the client."""
    return values.partition(b",")[0].strip().lower()


def _is_loopback_address(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
