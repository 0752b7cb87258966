"""What a result depends on besides its inputs: versions, threads, and the kernels that a processor is given.

Needs no torch. `probe.py` takes the probe, and `jobs.py` puts the two together where epochs run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Identity", "IdentityError"]

_INFORMATION = frozenset({"processor"})
"""Facts that are told and decide nothing. The probe sees what a processor's name can only suggest."""


class IdentityError(Exception):
    """A worker would give other bits than the workers before it. The message says which facts differ."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who made a result. Equal keys mean equal bits for equal jobs.

    Attributes:
        facts: Versions, threads and the probe, by name.
    """

    facts: Mapping[str, str]

    @property
    def key(self) -> str:
        """SHA-256 (hex) over the facts that decide."""
        deciding = {name: fact for name, fact in self.facts.items() if name not in _INFORMATION}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def differences(self, before: Mapping[str, str]) -> list[str]:
        """Which facts are not what they were before, in words."""
        names = sorted({*self.facts, *before})
        return [
            f"{name} was {before.get(name, 'not recorded')}, is {self.facts.get(name, 'not known')}"
            for name in names
            if before.get(name) != self.facts.get(name)
        ]
