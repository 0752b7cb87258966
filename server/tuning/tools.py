"""The nine tools of the tuning game, as values."""

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from ml_trainer_env.server.episodes.progress import OnProgress
from ml_trainer_env.server.episodes.tools import (
    Arguments,
    Effect,
    Parameter,
    Reply,
    Tool,
    Toolbox,
    choice,
    flag,
    number,
    text,
)
from ml_trainer_env.server.trainer.config import LIMITS, OptimizerKind
from ml_trainer_env.server.trainer.limits import Limit
from ml_trainer_env.server.trainer.schedules import LrSchedule
from ml_trainer_env.server.tuning.replies import CHECKPOINTS_SCHEMA, STATUS_SCHEMA, TRAINING_SCHEMA

if TYPE_CHECKING:
    from ml_trainer_env.server.tuning.episode import TuningEpisode

__all__ = ["NUM_EPOCHS", "TOOLS"]

NUM_EPOCHS = Limit(1, 20, whole=True)
"""Limit for the number of epochs of a call."""

_STRENGTH = "1 is the full recipe, 0 does nothing"

_SETTINGS: Mapping[str, Parameter] = {
    "optimizer": choice(OptimizerKind, "sgd has momentum 0.9"),
    "learning_rate": number(LIMITS["learning_rate"], "Peak rate, 0.001 suits adam, 0.05 sgd"),
    "batch_size": choice(LIMITS["batch_size"].choices, f"Images a step, a number: {LIMITS['batch_size']}"),
    "weight_decay": number(LIMITS["weight_decay"], "L2 strength, decoupled for adamw"),
    "dropout": number(LIMITS["dropout"], "Chance of dropping a hidden unit"),
    "lr_schedule": choice(LrSchedule, "Laid over the budget left at this call"),
    "warmup_epochs": number(LIMITS["warmup_epochs"], "For warmup_cosine"),
    "augmentation": flag("Random transforms of the training images"),
    "augmentation_strength": number(LIMITS["augmentation_strength"], _STRENGTH),
}

_NAME = text("1 to 64 letters, digits, . _ -", required=True)


def _configure(episode: "TuningEpisode", given: Arguments, _: OnProgress) -> Awaitable[Reply]:
    changes = {name: value for name, value in given.items() if name != "reinitialize"}
    return episode.configure(changes, given.get("reinitialize", False))


TOOLS: Toolbox["TuningEpisode"] = Toolbox(
    Tool(
        "configure_training",
        "Configure training",
        "Set or change the training configuration. What you leave out stays as it is.\n\n"
        "Weights are kept, and momentum too unless the optimizer changes. A new learning rate or\n"
        "schedule spans the epochs left. reinitialize=true starts again from fresh weights.",
        Effect(destroys=True),
        _configure,
        {**_SETTINGS, "reinitialize": flag("Draw fresh weights; budget stays spent. False if left out")},
        STATUS_SCHEMA,
    ),
    Tool(
        "run_epochs",
        "Run epochs",
        "Train for some epochs. Stops early at the end of the budget or if training diverges.",
        Effect(spends="num_epochs"),
        lambda episode, given, on_progress: episode.run_epochs(given.get("num_epochs"), on_progress),
        {"num_epochs": number(NUM_EPOCHS, "Epochs to run", required=True)},
        TRAINING_SCHEMA,
    ),
    Tool(
        "adjust_learning_rate",
        "Adjust the learning rate",
        "Set the learning rate from now on; the schedule continues from it.",
        Effect(idempotent=True),
        lambda episode, given, _: episode.adjust_learning_rate(given.get("new_lr")),
        {"new_lr": number(LIMITS["learning_rate"], "The rate from now on", required=True)},
        STATUS_SCHEMA,
    ),
    Tool(
        "toggle_augmentation",
        "Toggle augmentation",
        "Switch random transforms of the training images on or off, from the next epoch on.",
        Effect(idempotent=True),
        lambda episode, given, _: episode.toggle_augmentation(given.get("enabled"), given.get("strength")),
        {"enabled": flag("On or off", required=True), "strength": number(LIMITS["augmentation_strength"], _STRENGTH)},
        STATUS_SCHEMA,
    ),
    Tool(
        "get_training_status",
        "Training status",
        "Tell where training stands and how it is configured. Costs no epochs and pays nothing.",
        Effect(reads_only=True, idempotent=True),
        lambda episode, _, __: episode.status(),
        reply_schema=STATUS_SCHEMA,
    ),
    Tool(
        "submit_model",
        "Submit the model",
        "Hand in a model for grading, end the episode and be paid the score.\n\n"
        "That is the model of the best epoch on the way to the present weights; on permuted_mnist, the present "
        "weights.",
        Effect(destroys=True, idempotent=True),
        lambda episode, _, __: episode.submit(),
        reply_schema=STATUS_SCHEMA,
    ),
    Tool(
        "save_checkpoint",
        "Save a checkpoint",
        "Keep the present weights and optimizer under a name.",
        Effect(destroys=True, idempotent=True, marks="name"),
        lambda episode, given, _: episode.save_checkpoint(given.get("name")),
        {"name": _NAME},
        CHECKPOINTS_SCHEMA,
    ),
    Tool(
        "restore_checkpoint",
        "Restore a checkpoint",
        "Bring back weights and optimizer kept under a name. Budget stays spent.",
        Effect(destroys=True, idempotent=True),
        lambda episode, given, _: episode.restore_checkpoint(given.get("name")),
        {"name": _NAME},
        CHECKPOINTS_SCHEMA,
    ),
    Tool(
        "list_checkpoints",
        "Checkpoints",
        "List the checkpoints kept, with the epoch and validation accuracy of each.",
        Effect(reads_only=True, idempotent=True),
        lambda episode, _, __: episode.list_checkpoints(),
        reply_schema=CHECKPOINTS_SCHEMA,
    ),
)
"""The tools, in the order of the list."""
