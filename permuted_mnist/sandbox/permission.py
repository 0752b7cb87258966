"""Detects that bubblewrap may not create namespaces, as in a container with default options, and gives the remedy."""

__all__ = ["REMEDY", "is_denied"]

REMEDY = (
    "Containers may not make namespaces by default. Start this one with: docker run "
    "--security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt apparmor=unconfined "
    "(podman: --security-opt seccomp=unconfined --security-opt unmask=ALL)"
)

_DENIALS = ("operation not permitted", "permission denied", "no permissions", "no space left on device")
"""EPERM, EACCES, bubblewrap's own message, and ENOSPC: the limit `user.max_user_namespaces` is reached or 0."""


def is_denied(reason: str) -> bool:
    """Whether the kernel refused namespaces, by the error message of bubblewrap or `launch`."""
    return reason.startswith(("bwrap: ", "namespaces: ")) and any(words in reason.lower() for words in _DENIALS)
