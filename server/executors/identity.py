"""What a result depends on besides its inputs: versions, threads, and the kernels that torch chooses.

Torch is not imported. `runner.py` creates the identity where jobs run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Identity", "IdentityError"]

_INFORMATION = frozenset({"processor"})
"""Facts that are recorded but not part of the key. The probe shows more than a processor's name."""


class IdentityError(Exception):
    """A worker would give other bits than the earlier workers. The message names the facts that differ."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a result depends on besides its job. Equal keys mean equal bits for equal jobs.

    Attributes:
        facts: Versions, threads and the probe, by name.
    """

    facts: Mapping[str, str]

    @property
    def key(self) -> str:
        """SHA-256 (hex) of the facts, without the processor's name."""
        relevant = {name: fact for name, fact in self.facts.items() if name not in _INFORMATION}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()

    def differences(self, before: Mapping[str, str]) -> list[str]:
        """Return a text for each fact that differs from `before`."""
        names = sorted({*self.facts, *before})
        return [
            f"{name} was {before.get(name, 'not recorded')}, is {self.facts.get(name, 'not known')}"
            for name in names
            if before.get(name) != self.facts.get(name)
        ]
