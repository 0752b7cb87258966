"""Outcomes of runs."""

from dataclasses import dataclass, replace

from ml_trainer_env.arena.tables import Blame
from permuted_mnist.evaluation.results import Failure

__all__ = ["RunOutcome", "failed", "without_details"]

WITHHELD = "Results of single runs in the finals are not shown, so that their tasks stay unknown."

_SDK_NAMES = {Failure.BAD_OUTPUT: Failure.CODE_ERROR}
"""Replacements for failures that the SDK does not know."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of a run.

    Attributes:
        reward: The reward; None if the run failed.
        wall_s: Duration in seconds.
        peak_ram_bytes: Peak memory.
        error_type: Kind of failure: `code_error`, `timeout`, `oom_killed` or `crash`.
        error_message: Message for the owner.
        log: Output of the agent.
        error_owner: Who caused the failure; None without one.
    """

    reward: float | None
    wall_s: float
    peak_ram_bytes: int
    error_type: str | None
    error_message: str | None
    log: str
    error_owner: Blame | None = None


def failed(
    failure: Failure,
    detail: str,
    wall_s: float,
    peak_ram_bytes: int,
    log: str,
    owner: Blame = Blame.PARTICIPANT,
) -> RunOutcome:
    """Create the outcome of a failed run. If the SDK does not know the kind of failure, the message contains it."""
    kind = _SDK_NAMES.get(failure, failure)
    message = detail if kind is failure else f"{failure}: {detail}"
    return RunOutcome(None, wall_s, peak_ram_bytes, str(kind), message, log, owner)


def without_details(outcome: RunOutcome) -> RunOutcome:
    """Remove the agent's own output and error message from an outcome."""
    return replace(outcome, log=WITHHELD, error_message=None if outcome.error_type is None else WITHHELD)
