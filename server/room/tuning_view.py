"""What an observer may see of tuning episodes."""

from ml_trainer_env.server.room.views import Chart, Standing, View
from ml_trainer_env.server.tuning.episode import TuningEpisode

__all__ = ["TUNING"]


def _standing(episode: TuningEpisode) -> Standing:
    budget = episode.task.budget
    left = episode.history.left_of(budget)
    seconds = "" if left.seconds is None else f", {left.seconds:.1f} s of training"
    spent = 1 - left.epochs / budget.epochs
    if left.seconds is not None and budget.seconds:
        spent = max(spent, 1 - left.seconds / budget.seconds)
    return Standing(
        budget=budget.epochs,
        signal="finished" if episode.done else episode.history.signal().value,
        spent=spent,
        left=f"{left.epochs} epochs{seconds}",
    )


TUNING = View(
    game="tuning",
    unit="epoch",
    headline="val_accuracy",
    charts=(
        Chart("accuracy", {"val_accuracy": "validation", "train_accuracy": "train"}, share=True),
        Chart("loss, nats", {"val_loss": "validation", "train_loss": "train"}),
        Chart("learning rate", {"learning_rate": "rate"}, log=True),
        Chart("gradient norm", {"gradient_norm": "norm"}, log=True),
        Chart("dead units, share", {"dead_units": "dead"}, share=True),
    ),
    standing=_standing,
)
"""The view of the tuning game. Figures of held-out examples are no figures of an epoch, and no chart names them."""
