"""Which Ray clusters the server may join. Ray is not imported."""

import ipaddress
from collections.abc import Mapping

__all__ = ["DEFAULT_ADDRESS", "RayAddressError", "check_address", "has_tokens"]

DEFAULT_ADDRESS = "127.0.0.1:6379"
"""Where `ray start --head` listens."""


class RayAddressError(ValueError):
    """An address is not one of a cluster, or the cluster may not be joined. The message says what to do."""


def check_address(address: str, environment: Mapping[str, str]) -> str:
    """Return the address of a cluster that may be joined.

    Whoever reaches a Ray cluster without tokens runs code on all its nodes, and in all that joined it.

    Args:
        address: Host and port of the head. An IPv6 address is in brackets.
        environment: The environment variables, of which Ray itself reads RAY_AUTH_MODE.

    Raises:
        RayAddressError: It is no host with a port, or it is not on loopback and the cluster has no tokens.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise RayAddressError(f"must be the host and port of a Ray head, such as {DEFAULT_ADDRESS}, got {address!r}")
    if not has_tokens(environment) and not _is_loopback(host.strip("[]")):
        raise RayAddressError(
            f"names a cluster off loopback, {address!r}: set RAY_AUTH_MODE=token here and on each node, and give each "
            "the token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH). Without it, whoever reaches a port of Ray can run code"
        )
    return address


def has_tokens(environment: Mapping[str, str]) -> bool:
    """Whether Ray is told to demand its token of everybody."""
    return environment.get("RAY_AUTH_MODE", "").strip().lower() == "token"


def _is_loopback(host: str) -> bool:
    """Whether an address is one of this machine only. Of names, only `localhost` is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
