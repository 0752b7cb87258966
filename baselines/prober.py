"""An agent that probes before it trains: it spends a part of the budget on short runs, and goes on from the best.

It contains no results of earlier runs. Its decisions depend only on the brief and on the replies.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from ml_trainer_env.baselines.agent import Call, Decision, Outcome, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.session import Brief, Reply, ToolSpec

__all__ = ["ProbingAgent"]

CONFIGURE = "configure_training"
SAVE, RESTORE = "save_checkpoint", "restore_checkpoint"

START, BEST = "start", "best"
"""Names of checkpoints: the model as it was found, and the best one since the probes."""

PROBING_SHARE = 0.4
"""The probes spend at most this share of the budget."""

GAP = 0.1
"""A gap between training and validation accuracy above this is answered by regularisation."""

MOST_CALLS = 30
"""After the probes the rest of the budget is split into at most this many calls."""

WORSE = 0.15
"""The validation loss rose by this share within one call: the rate is too high, or the examples have changed."""

Turns = Generator[Decision, Outcome, Outcome]


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
        loss: The last validation loss.
        best_loss: The lowest validation loss since the probes, or since the examples changed.
        losses: Validation loss after each probe, by its name.
    """

    left: int
    loss: float = math.inf
    best_loss: float = math.inf
    accuracy: float = 0.0
    gap: float = 0.0
    diverged: bool = False
    losses: dict[str, float] = field(default_factory=dict)

    def read(self, reply: Reply) -> None:
        self.left = int(reply.get("remaining_budget") or 0)
        loss = reply.get("val_loss")
        self.loss = float(loss) if isinstance(loss, int | float) else math.inf
        self.accuracy = float(reply.get("val_accuracy") or 0.0)
        self.gap = float(reply.get("train_accuracy") or 0.0) - self.accuracy
        self.diverged = bool(reply.get("is_diverged"))


_PROBES = (
    _Probe("kept-low", fresh=False, optimizer="adamw", learning_rate=0.001),
    _Probe("fresh-middle", fresh=True, optimizer="adamw", learning_rate=0.003),
    _Probe("fresh-high", fresh=True, optimizer="adamw", learning_rate=0.02),
    _Probe("kept-high", fresh=False, optimizer="adamw", learning_rate=0.01),
    _Probe("fresh-sgd", fresh=True, optimizer="sgd", learning_rate=0.05),
    _Probe("fresh-low", fresh=True, optimizer="adamw", learning_rate=0.0005),
)
"""The probes, most telling first."""


class ProbingAgent:
    """Probes settings for one epoch each, on the weights it was given and on fresh ones, and goes on with the best.

    Then it anneals the rate over the rest of the budget. It keeps the best model as a checkpoint, adds regularisation
    when the gap grows, goes back with a lower rate when the validation loss jumps, and submits the best model.

    Args:
        adapts: Whether it corrects settings after the probes. If not, it probes, trains and submits what it has.
    """

    def __init__(self, *, adapts: bool = True) -> None:
        self._adapts = adapts
        self.name = "prober" if adapts else "probes"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. An unexpected refusal ends the script."""
        seen = _Seen(brief.budget_epochs)
        chosen = yield from self._probe(brief, seen)
        yield from self._train(brief, seen, chosen)
        if self._adapts and seen.best_loss < seen.loss:
            yield Call(RESTORE, {"name": BEST}, "the best model since the probes")
        yield Call(SUBMIT, {}, "the budget is spent")

    def _probe(self, brief: Brief, seen: _Seen) -> Generator[Decision, Outcome, _Probe]:
        """Run the probes, and restore the best one."""
        batch = min(64, brief.largest_batch)
        count = max(2, min(len(_PROBES), int(PROBING_SHARE * brief.budget_epochs)))
        yield Call(SAVE, {"name": START}, "to come back to the model as it was found")
        for probe in _PROBES[:count]:
            if not probe.fresh:
                yield Call(RESTORE, {"name": START}, "probe the weights that were found")
            yield Call(CONFIGURE, {**probe.settings(batch), "reinitialize": probe.fresh}, f"probe {probe.name}")
            outcome = yield Call(RUN, {"num_epochs": 1}, "one epoch tells whether the loss falls")
            if outcome.reply is not None:
                seen.read(outcome.reply)
            seen.losses[probe.name] = math.inf if seen.diverged else seen.loss
            yield Call(SAVE, {"name": probe.name}, "to go on from it")
        chosen = min(_PROBES[:count], key=lambda probe: seen.losses[probe.name])
        if chosen is not _PROBES[count - 1]:
            yield Call(RESTORE, {"name": chosen.name}, f"its validation loss is the lowest: {seen.losses}")
        seen.loss = seen.losses[chosen.name]
        return chosen

    def _train(self, brief: Brief, seen: _Seen, chosen: _Probe) -> Generator[Decision, Outcome, None]:
        """Train on from the chosen probe for the rest of the budget."""
        batch, rate, dropout, strength = min(64, brief.largest_batch), chosen.learning_rate, 0.0, 0.0
        settings = {**chosen.settings(batch), "lr_schedule": "cosine"}
        yield Call(CONFIGURE, settings, "anneal the rate over the rest of the budget")
        stride = max(1, math.ceil(seen.left / MOST_CALLS)) if self._adapts else 20
        while seen.left > 0:
            before = seen.loss
            outcome = yield Call(RUN, {"num_epochs": min(stride, seen.left)}, "train on")
            if outcome.reply is None:
                return
            seen.read(outcome.reply)
            if not self._adapts:
                if seen.diverged:
                    return
                continue
            if seen.diverged or seen.loss > before * (1.0 + WORSE) + 0.05:
                rate /= 3.0
                if math.isfinite(seen.best_loss) and seen.diverged:
                    yield Call(RESTORE, {"name": BEST}, "the loss jumped: back to the best model")
                elif seen.diverged:
                    yield Call(CONFIGURE, {"reinitialize": True}, "it diverged: fresh weights")
                else:
                    seen.best_loss = math.inf  # the examples may have changed: older losses do not compare
                if seen.left:
                    yield Call(CONFIGURE, {"learning_rate": max(rate, 1e-5)}, "a third of the rate from now on")
            elif seen.gap > GAP and strength < 1.0:
                dropout, strength = min(0.5, dropout + 0.1), min(1.0, strength + 0.3)
                changes = {"dropout": dropout, "augmentation": True, "augmentation_strength": strength}
                yield Call(CONFIGURE, changes, f"the gap is {100 * seen.gap:.0f} points: more regularisation")
            if seen.loss < seen.best_loss:
                seen.best_loss = seen.loss
                yield Call(SAVE, {"name": BEST}, "the best so far")
