"""An agent that probes fixed settings for one epoch each, and trains on with the best. It corrects nothing later."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.session import Brief, ToolSpec

__all__ = ["OneEpochProbes"]

EPOCHS_FOR_A_PROBE = 4
"""There is one probe for this many epochs of the budget, and two at least."""

_EPOCHS = 20


@dataclass(frozen=True, slots=True)
class _Probe:
    """Settings to probe, and whether from fresh weights."""

    name: str
    fresh: bool
    optimizer: str
    learning_rate: float


_PROBES = (
    _Probe("kept", fresh=False, optimizer="adamw", learning_rate=0.002),
    _Probe("fresh", fresh=True, optimizer="adamw", learning_rate=0.005),
    _Probe("fresh-high", fresh=True, optimizer="adamw", learning_rate=0.02),
    _Probe("kept-high", fresh=False, optimizer="adamw", learning_rate=0.01),
    _Probe("fresh-sgd", fresh=True, optimizer="sgd", learning_rate=0.05),
)
"""The probes, most telling first."""


class OneEpochProbes:
    """Trains for one epoch with each of a few settings, and goes on with the one of the lowest validation loss."""

    name = "one-epoch probes"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. A refused training call ends the script."""
        probes = _PROBES[: max(2, min(len(_PROBES), brief.budget_epochs // EPOCHS_FOR_A_PROBE))]
        batch, losses, left = min(32, brief.largest_batch), [], brief.budget_epochs
        yield Call("save_checkpoint", {"name": "start"})
        for number, probe in enumerate(probes):
            if not probe.fresh and number:
                yield Call("restore_checkpoint", {"name": "start"})
            settings = {
                "optimizer": probe.optimizer,
                "learning_rate": probe.learning_rate,
                "batch_size": batch,
                "lr_schedule": "constant",
                "reinitialize": probe.fresh,
                "weight_decay": 0.0,
                "dropout": 0.0,
                "augmentation": False,
            }
            yield Call("configure_training", settings, f"probe {probe.name}")
            outcome = yield Call(RUN, {"num_epochs": 1})
            loss = outcome.reply.get("val_loss") if outcome.reply else None
            losses.append(float(loss) if isinstance(loss, int | float) else math.inf)
            left -= 1
            yield Call("save_checkpoint", {"name": probe.name})
        chosen = min(range(len(probes)), key=losses.__getitem__)
        yield Call("restore_checkpoint", {"name": probes[chosen].name}, "the lowest validation loss")
        yield Call("configure_training", {"lr_schedule": "cosine", "learning_rate": probes[chosen].learning_rate})
        while left > 0:
            outcome = yield Call(RUN, {"num_epochs": min(_EPOCHS, left)})
            if outcome.reply is None or outcome.reply.get("is_diverged"):
                break
            left = int(outcome.reply["remaining_budget"])
        yield Call(SUBMIT)
