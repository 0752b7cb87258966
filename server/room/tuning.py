"""The room of the tuning game."""

from typing import Any

from ml_trainer_env.server.room.contract import Picture
from ml_trainer_env.server.room.curves import curves_png
from ml_trainer_env.server.room.page import episode_page, one_click_actions
from ml_trainer_env.server.tuning.episode import TuningEpisode

__all__ = ["TuningRoom"]


class TuningRoom:
    """Shows tuning episodes; see `contract.Room`."""

    picture = Picture(
        name="plot_training_curves",
        title="Training curves",
        description=(
            "Draw loss and accuracy by epoch, training and validation, as a PNG. Costs no epochs, like "
            "get_training_status."
        ),
        beside="get_training_status",
    )

    def draw(self, episode: TuningEpisode) -> bytes:
        """Draw the curves as PNG."""
        budget = episode.task.budget_epochs
        title = f"{episode.task.name}: epoch {episode.history.epochs} of {budget}"
        return curves_png(episode.history, budget, title)

    def page(self, episode: TuningEpisode) -> str:
        """Return the curves as HTML."""
        return episode_page(episode)

    def actions(self, episode: TuningEpisode) -> list[tuple[str, dict[str, Any]]]:
        """Return one-click calls."""
        return one_click_actions(episode)
