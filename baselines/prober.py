"""An agent that probes before it trains: it spends a part of the budget on short runs, and goes on from the best.

It contains no results of earlier runs. Its decisions depend only on the brief and on the replies.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from ml_trainer_env.baselines.agent import Call, Decision, Outcome, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.session import Brief, Reply, ToolSpec

__all__ = ["ProbingAgent"]

CONFIGURE = "configure_training"
SAVE, RESTORE = "save_checkpoint", "restore_checkpoint"

START, BEST = "start", "best"
"""Names of checkpoints: the model as it was found, and the best one since the probes."""

EPOCHS_FOR_A_PROBE = 4
"""There is one probe for this many epochs of the budget, and two at least."""

GAP = 0.1
"""A gap between training and validation accuracy above this is answered by regularisation."""

MOST_CALLS = 30
"""After the probes the rest of the budget is split into at most this many calls."""

JUMP = 0.3
"""The validation loss rose by this share within one call: the rate is too high, or the examples have changed."""

_LOSS_WEIGHT = 0.001
_FRESH: dict[str, object] = {"reinitialize": True}


@dataclass(frozen=True, slots=True)
class _Probe:
    """A short run: settings, and whether it starts from fresh weights."""

    name: str
    fresh: bool
    optimizer: str
    learning_rate: float

    def settings(self, batch: int) -> dict[str, object]:
        return {
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "batch_size": batch,
            "lr_schedule": "constant",
            "weight_decay": 0.05 if self.optimizer == "adamw" else 0.0005,
        }


@dataclass(slots=True)
class _Seen:
    """What the replies have told so far.

    Attributes:
        left: Epochs left.
        worth: The last worth of the model: see `read`.
        best: The best worth since the probes, or since the examples changed.
        gap: Training accuracy minus validation accuracy.
        loss: The last validation loss, infinite if it was not finite.
        diverged: Whether the last epoch diverged.
        by_loss: Whether a model's worth is minus its loss, since the next token is predicted.
    """

    left: int
    by_loss: bool
    worth: float = -math.inf
    best: float = -math.inf
    gap: float = 0.0
    loss: float = math.inf
    diverged: bool = False

    def read(self, reply: Reply) -> None:
        """Read a reply. The worth is the validation accuracy; the loss decides between equals."""
        self.left = int(reply.get("remaining_budget") or 0)
        loss = reply.get("val_loss")
        self.loss = float(loss) if isinstance(loss, int | float) else math.inf
        accuracy = float(reply.get("val_accuracy") or 0.0)
        self.worth = -self.loss if self.by_loss else accuracy - _LOSS_WEIGHT * min(self.loss, 10.0)
        self.gap = float(reply.get("train_accuracy") or 0.0) - accuracy
        self.diverged = bool(reply.get("is_diverged"))
        if self.diverged:
            self.worth = -math.inf


_PROBES = (
    _Probe("kept", fresh=False, optimizer="adamw", learning_rate=0.002),
    _Probe("fresh", fresh=True, optimizer="adamw", learning_rate=0.005),
    _Probe("fresh-high", fresh=True, optimizer="adamw", learning_rate=0.02),
    _Probe("kept-high", fresh=False, optimizer="adamw", learning_rate=0.01),
    _Probe("fresh-sgd", fresh=True, optimizer="sgd", learning_rate=0.05),
)
"""The probes, most telling first."""


class ProbingAgent:
    """Probes settings for one epoch each, on the weights it was given and on fresh ones, and goes on with the best.

    Then it anneals the rate over the rest of the budget. It keeps the best model as a checkpoint, adds regularisation
    when the gap grows, lowers the rate when the figures jump, and submits the best model.

    Args:
        adapts: Whether it corrects settings after the probes. If not, it probes, trains and submits what it has.
    """

    def __init__(self, *, adapts: bool = True) -> None:
        self._adapts = adapts
        self.name = "prober" if adapts else "probes"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. A refused training call ends the script."""
        seen = _Seen(brief.budget_epochs, by_loss="next token" in brief.description)
        chosen = yield from self._probe(brief, seen)
        yield from self._train(brief, seen, chosen)
        if self._adapts and seen.best > seen.worth:
            yield Call(RESTORE, {"name": BEST}, "the best model since the probes")
        yield Call(SUBMIT, {}, "the budget is spent")

    def _probe(self, brief: Brief, seen: _Seen) -> Generator[Decision, Outcome, _Probe]:
        """Run the probes, and restore the best one."""
        batch = _batch(brief)
        probes = _PROBES[: max(2, min(len(_PROBES), brief.budget_epochs // EPOCHS_FOR_A_PROBE))]
        worth: dict[str, float] = {}
        yield Call(SAVE, {"name": START}, "to come back to the model as it was found")
        for probe in probes:
            if not probe.fresh and worth:
                yield Call(RESTORE, {"name": START}, "probe the weights that were found")
            yield Call(CONFIGURE, {**probe.settings(batch), "reinitialize": probe.fresh}, f"probe {probe.name}")
            outcome = yield Call(RUN, {"num_epochs": 1}, "one epoch tells how fast it learns")
            if outcome.reply is not None:
                seen.read(outcome.reply)
            worth[probe.name] = seen.worth
            yield Call(SAVE, {"name": probe.name}, "to go on from it")
        chosen = max(probes, key=lambda probe: worth[probe.name])
        if chosen is not probes[-1]:
            yield Call(RESTORE, {"name": chosen.name}, f"it learns best: {worth}")
        seen.worth = worth[chosen.name]
        return chosen

    def _train(self, brief: Brief, seen: _Seen, chosen: _Probe) -> Generator[Decision, Outcome, None]:
        """Train on from the chosen probe for the rest of the budget."""
        rate, dropout, strength = chosen.learning_rate, 0.0, 0.0
        settings = {**chosen.settings(_batch(brief)), "lr_schedule": "cosine"}
        yield Call(CONFIGURE, settings, "anneal the rate over the rest of the budget")
        stride = max(1, math.ceil(seen.left / MOST_CALLS)) if self._adapts else 20
        while seen.left > 0:
            before = seen.loss
            outcome = yield Call(RUN, {"num_epochs": min(stride, seen.left)}, "train on")
            if outcome.reply is None:
                return
            seen.read(outcome.reply)
            if not self._adapts and seen.diverged:
                return
            if not self._adapts:
                continue
            if seen.worth > seen.best:
                seen.best = seen.worth
                yield Call(SAVE, {"name": BEST}, "the best so far")
            if seen.left and (seen.diverged or seen.loss > before * (1.0 + JUMP) + 0.1):
                rate /= 2.0
                seen.best = -math.inf if not seen.diverged else seen.best  # older figures may not compare
                if seen.diverged:
                    back = Call(RESTORE, {"name": BEST}) if seen.best > -math.inf else Call(CONFIGURE, _FRESH)
                    yield back
                yield Call(CONFIGURE, {"learning_rate": rate}, "the loss jumped: half the rate from now on")
            elif seen.left and seen.gap > GAP and strength < 1.0:
                dropout, strength = min(0.5, dropout + 0.1), min(1.0, strength + 0.3)
                changes = {"dropout": dropout, "augmentation": True, "augmentation_strength": strength}
                yield Call(CONFIGURE, changes, f"the gap is {100 * seen.gap:.0f} points: more regularisation")


def _batch(brief: Brief) -> int:
    return min(32, brief.largest_batch)
