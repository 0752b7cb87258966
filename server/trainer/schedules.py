"""Learning rates by epoch, as pure functions. The rate is constant within an epoch."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

__all__ = ["LearningRatePlan", "LrSchedule"]


class LrSchedule(StrEnum):
    """How the learning rate changes over a plan's span."""

    CONSTANT = "constant"
    """It does not change."""
    STEP = "step"
    """Multiplied by 0.1 after each third of the span."""
    COSINE = "cosine"
    """Annealed to zero along half a cosine (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    WARMUP_COSINE = "warmup_cosine"
    """Linear from near zero over the warm-up epochs, then a cosine over the rest."""


@dataclass(frozen=True, slots=True)
class LearningRatePlan:
    """A schedule over a span of epochs.

    Attributes:
        schedule: The schedule.
        base_rate: The rate where the schedule's factor is 1.
        start_epoch: The epoch of the training state at which the plan begins.
        span_epochs: Length of the plan in epochs, at least 1. It is the budget that was left when the plan began.
        warmup_epochs: Length of the linear warm-up in epochs, 0 for none.
    """

    schedule: LrSchedule
    base_rate: float
    start_epoch: int
    span_epochs: int
    warmup_epochs: int = 0

    def rate_at(self, epoch: int) -> float:
        """Return the rate of `epoch`, an epoch of the training state."""
        done = epoch - self.start_epoch
        warmth = min(1.0, (done + 1) / self.warmup_epochs) if self._warms_up else 1.0
        return self.base_rate * warmth * self._decay(done)

    def with_rate(self, epoch: int, rate: float) -> Self:
        """Return the same schedule, scaled so that the rate at `epoch` is `rate`.

        A running warm-up ends, so that the rate is the one given.
        """
        held = self.warmup_epochs if self._warms_up else 0
        plan = replace(self, base_rate=rate / self._decay(epoch - self.start_epoch))
        if not held:
            return plan
        # The cosine begins where the warm-up would have ended.
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
        """Factor of the schedule after `done` epochs, without the warm-up, in (0, 1]."""
        if self.schedule is LrSchedule.CONSTANT:
            return 1.0
        if self.schedule is LrSchedule.STEP:
            return float(0.1 ** min(2, max(0, 3 * done // self.span_epochs)))
        held = self.warmup_epochs if self._warms_up else 0
        span = max(1, self.span_epochs - held)
        position = min(max(0, done - held), span - 1)
        return 0.5 * (1.0 + math.cos(math.pi * position / span))
