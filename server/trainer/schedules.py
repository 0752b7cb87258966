"""Learning rates by epoch, as pure functions. One rate an epoch, none within it."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

__all__ = ["LearningRatePlan", "LrSchedule"]


class LrSchedule(StrEnum):
    """How the learning rate moves over a plan's span."""

    CONSTANT = "constant"
    """It stays."""
    STEP = "step"
    """Multiplied by 0.1 after each third of the span."""
    COSINE = "cosine"
    """Annealed to zero along half a cosine (Loshchilov & Hutter 2017, eq. 5, no restarts)."""
    WARMUP_COSINE = "warmup_cosine"
    """Linear from near zero over the warm-up epochs, then cosine over the rest."""


@dataclass(frozen=True, slots=True)
class LearningRatePlan:
    """A schedule laid over a stretch of epochs.

    Attributes:
        schedule: The curve.
        base_rate: The rate at the curve's height of 1.
        start_epoch: The training state's epoch at which the plan begins.
        span_epochs: Its length, at least 1: the budget left when it was laid.
        warmup_epochs: Length of the linear warm-up, 0 for none.
    """

    schedule: LrSchedule
    base_rate: float
    start_epoch: int
    span_epochs: int
    warmup_epochs: int = 0

    def rate_at(self, epoch: int) -> float:
        """The rate of `epoch`, counted as the training state counts."""
        done = epoch - self.start_epoch
        warmth = min(1.0, (done + 1) / self.warmup_epochs) if self._warms_up else 1.0
        return self.base_rate * warmth * self._decay(done)

    def with_rate(self, epoch: int, rate: float) -> Self:
        """The same curve, scaled to pass through `rate` at `epoch` and to go on from there.

        A warm-up still under way is over: the rate given is the rate that was wanted.
        """
        held = self.warmup_epochs if self._warms_up else 0
        plan = replace(self, base_rate=rate / self._decay(epoch - self.start_epoch))
        if not held:
            return plan
        # The cosine still begins where the warm-up would have ended.
        return replace(
            plan,
            schedule=LrSchedule.COSINE,
            start_epoch=self.start_epoch + held,
            span_epochs=max(1, self.span_epochs - held),
            warmup_epochs=0,
        )

    @property
    def _warms_up(self) -> bool:
        return self.schedule is LrSchedule.WARMUP_COSINE and self.warmup_epochs > 0

    def _decay(self, done: int) -> float:
        """Height of the curve, warm-up aside, after `done` epochs: in (0, 1]."""
        if self.schedule is LrSchedule.CONSTANT:
            return 1.0
        if self.schedule is LrSchedule.STEP:
            return float(0.1 ** min(2, max(0, 3 * done // self.span_epochs)))
        held = self.warmup_epochs if self._warms_up else 0
        span = max(1, self.span_epochs - held)
        position = min(max(0, done - held), span - 1)
        return 0.5 * (1.0 + math.cos(math.pi * position / span))
