"""The facts of an identity that need no computation: versions, threads, system and processor.

Torch is not imported.
"""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["versions"]


@cache
def versions(torch_threads: int, probe: str) -> dict[str, str]:
    """Return the facts that may change the last digit of a loss, by name.

    Args:
        torch_threads: Number of threads that torch computes with.
        probe: Reference of the probe. Its package is the engine.

    Raises:
        ImportError: The module of the probe does not exist.
    """
    return {
        "ml_trainer_env": version("openenv-ml-trainer-env"),
        "engine": _engine_digest(probe.partition(":")[0]),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "torch_threads": str(torch_threads),
    }


def _engine_digest(module: str) -> str:
    """Digest of the source of all engines below. A changed engine must not use results of the old one."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no module {module}")
    digest = hashlib.sha256()
    folder = Path(spec.origin).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _processor() -> str:
    """Model and features of the processor. Torch chooses its kernels by them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    features = named.get("flags", named.get("Features", ""))
    return f"{named.get('model name', platform.processor())} {hashlib.sha256(features.encode()).hexdigest()[:8]}"
