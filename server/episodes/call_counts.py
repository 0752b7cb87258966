"""The budget of calls. Counts the calls of an episode and decides which one is its last."""

from dataclasses import dataclass

from ml_trainer_env.server.episodes.errors import EpisodeError

__all__ = ["CALLS_AFTER_BUDGET", "MAX_CHANGES", "CallCounts", "CallLimits"]

MAX_CHANGES = 60
"""Limit for the calls that change an episode. The last one submits. The rules say which calls count."""

CALLS_AFTER_BUDGET = 5
"""Limit for the calls after the end of the budget. The last one submits."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits of an episode besides `MAX_CHANGES` and `CALLS_AFTER_BUDGET`. None means no limit.

    Attributes:
        saves: How many times a checkpoint may be saved.
        restores: How many times a checkpoint may be restored.
        calls: How many calls of any kind an episode may have, refused ones among them. The last one submits.
    """

    saves: int | None = None
    restores: int | None = None
    calls: int | None = None


class CallCounts:
    """Counts the calls of an episode.

    Args:
        limits: The limits.
    """

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._calls = 0
        self._changes = 0
        self._after_budget = 0
        self._saves = 0
        self._restores = 0

    @property
    def next_is_last(self) -> bool:
        """Whether the next call of any kind submits."""
        return self._is_last(self._calls + 1)

    def count(self, budget_is_spent: bool) -> str | None:
        """Count a call.

        Returns:
            Why the call submits instead of being carried out. None if it does not submit.
        """
        self._calls += 1
        if self._is_last(self._calls):
            return f"That was call {self._limits.calls} of any kind: the model was submitted by itself."
        if not budget_is_spent:
            return None
        self._after_budget += 1
        if self._after_budget < CALLS_AFTER_BUDGET:
            return None
        return "The budget is used up: the model was submitted by itself."

    def count_refused(self) -> None:
        """Count a call that was refused before it reached the episode. Such a call never submits."""
        if not self.next_is_last:
            self._calls += 1

    def count_change(self) -> bool:
        """Count a call that changed something. Returns whether it also submits."""
        self._changes += 1
        return self._changes >= MAX_CHANGES

    def require_save(self) -> None:
        """Check that one more checkpoint may be saved.

        Raises:
            EpisodeError: The limit is reached.
        """
        _require_fewer("save a checkpoint", self._saves, self._limits.saves)

    def require_restore(self) -> None:
        """Check that one more checkpoint may be restored.

        Raises:
            EpisodeError: The limit is reached.
        """
        _require_fewer("restore a checkpoint", self._restores, self._limits.restores)

    def count_save(self) -> None:
        """Count a checkpoint that was saved."""
        self._saves += 1

    def count_restore(self) -> None:
        """Count a checkpoint that was restored."""
        self._restores += 1

    def _is_last(self, number: int) -> bool:
        return self._limits.calls is not None and number >= self._limits.calls


def _require_fewer(call: str, made: int, most: int | None) -> None:
    if most is not None and made >= most:
        raise EpisodeError(f"an episode may {call} {most} times, and has done so")
