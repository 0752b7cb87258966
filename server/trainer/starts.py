"""Starts in mid-run: what happened to a network before an episode begins. Torch is not imported.

`accidents.py` computes the weights of a start, where the first epoch is trained.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import Limit, check_choice, shown

__all__ = ["START_LIMITS", "StartKind", "StartSpec"]

START_LIMITS: Mapping[str, Limit] = MappingProxyType(
    {"severity": Limit(0.0, 1.0), "trained_epochs": Limit(0, 60, whole=True)}
)
"""Bounds of the numbers of a start, by name."""


class StartKind(StrEnum):
    """What happened before the episode."""

    FRESH = "fresh"
    """Nothing. The weights are drawn."""
    HOT = "hot"
    """The last step of sgd had a learning rate that was far too high, and the loss rose above chance."""
    MOMENTUM = "momentum"
    """The momentum buffers of sgd are far too large. The worse ones have already moved the weights."""
    DEAD = "dead"
    """Many hidden units have the same output for nearly every example: zero for relu, -1 or 1 for tanh."""
    MEMORISED = "memorised"
    """A fifth of the training examples was learnt by heart, many of them with a wrong label."""


@dataclass(frozen=True, slots=True)
class StartSpec:
    """A start. Every field is checked on construction.

    The weights are first trained for `trained_epochs` at sensible settings. Then the accident happens.

    Attributes:
        kind: What happened.
        severity: How bad it was, 0 to 1.
        trained_epochs: Number of sensible epochs before it. They cost time, and no budget.

    Raises:
        ConfigError: A value is out of bounds or of the wrong type.
    """

    kind: StartKind
    severity: float = 0.5
    trained_epochs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", StartKind(check_choice("kind of start", self.kind, tuple(StartKind))))
        for name, limit in START_LIMITS.items():
            object.__setattr__(self, name, limit.check(name, getattr(self, name)))

    @property
    def text(self) -> str:
        """The start as JSON on one line. Equal starts have equal texts."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a start from its `text`.

        Raises:
            ConfigError: The text is not that of a start.
        """
        try:
            return cls(**dict(json.loads(text)))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"a start must be the text of a StartSpec, got {shown(text)}: {error}") from error
