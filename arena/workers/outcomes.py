"""What comes of a run."""

from dataclasses import dataclass, replace

from permuted_mnist.evaluation.results import Failure

__all__ = ["RunOutcome", "failed", "withheld"]

WITHHELD = "What comes of single runs in the finals is not shown: their tasks stay unknown to those who submit again."

_SDK_NAMES = {Failure.BAD_OUTPUT: Failure.CODE_ERROR}
"""What the SDK has no name for."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What came of a run.

    Attributes:
        reward: None if it failed.
        wall_s: Seconds that it took.
        peak_ram_bytes: Memory that it took.
        error_type: Why there is no reward: `code_error`, `timeout`, `oom_killed`, `crash`.
        error_message: What its owner is told.
        log: What the agent printed.
    """

    reward: float | None
    wall_s: float
    peak_ram_bytes: int
    error_type: str | None
    error_message: str | None
    log: str


def failed(failure: Failure, detail: str, wall_s: float, peak_ram_bytes: int, log: str) -> RunOutcome:
    """The outcome of a run that failed, by the names that the SDK knows; the message tells ours where they differ."""
    kind = _SDK_NAMES.get(failure, failure)
    message = detail if kind is failure else f"{failure}: {detail}"
    return RunOutcome(None, wall_s, peak_ram_bytes, str(kind), message, log)


def withheld(outcome: RunOutcome) -> RunOutcome:
    """An outcome without what the agent said itself."""
    return replace(outcome, log=WITHHELD, error_message=None if outcome.error_type is None else WITHHELD)
