"""What to say where bubblewrap is installed and may not make namespaces, as in a container with default options."""

__all__ = ["REMEDY", "is_denied"]

REMEDY = (
    "Containers may not make namespaces by default. Start this one with: docker run "
    "--security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt apparmor=unconfined "
    "(podman: --security-opt seccomp=unconfined --security-opt unmask=ALL)"
)

_DENIALS = ("operation not permitted", "permission denied", "no permissions", "no space left on device")
"""EPERM, EACCES, bubblewrap's own words, and ENOSPC: `user.max_user_namespaces` is used up, or 0."""


def is_denied(reason: str) -> bool:
    """Whether the kernel did not permit namespaces, by what bubblewrap or the launcher before it wrote."""
    return reason.startswith(("bwrap: ", "namespaces: ")) and any(words in reason.lower() for words in _DENIALS)
