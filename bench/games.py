"""The games that agents can be compared on, as declarations. A new game is one more entry in `GAMES`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_trainer_env.errors import MLTrainerError

__all__ = ["GAMES", "BenchGame", "UnknownGameError", "find_game"]

NAMED = "named"
"""The split of tasks with names of their own."""


class UnknownGameError(MLTrainerError, ValueError):
    """There is no game of this name. The message lists the games."""


@dataclass(frozen=True, slots=True)
class BenchGame:
    """What a comparison has to know of a game.

    A field is the name of a field in the status of a reset and in replies.

    Attributes:
        name: The game, and the first part of the ids of its drawn tasks: `<name>/<split>/<index>`.
        path: Path of the game on a server.
        unit: What the budget counts.
        budget: Field of the budget of an episode.
        spent: Field of what an episode has spent.
        work: The tool that spends.
        amount: The argument of that tool that says how much is spent. "" if nobody knows before the call.
        seen: Returns the figure of the submitted model that the agent could see, from the replies of its episode. None
            if there is none.
        hidden: Field of the same figure on hidden examples, in the last reply.
        seen_name: Name of the figure that the agent could see.
        hidden_name: Name of the hidden figure.
        kinds: Returns the kinds of a task: from the observation of a reset and the last reply.
    """

    name: str
    path: str
    unit: str
    budget: str
    spent: str
    work: str
    amount: str
    seen: Callable[[Sequence[Mapping[str, Any]]], float | None]
    hidden: str
    seen_name: str
    hidden_name: str
    kinds: Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[str]]

    def task_id(self, split: str, index: int) -> str:
        """Return the id of a drawn task."""
        return f"{self.name}/{split}/{index}"


def _network_kind(reset: Mapping[str, Any], _last: Mapping[str, Any]) -> Sequence[str]:
    """Return the kind of the network: `perceptron` of `perceptron of 4 layers of width 128`."""
    return (str(reset["task"]["network"]).split(" of ")[0],)


def _accuracy_of_submitted(replies: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the validation accuracy of the submitted model.

    It is that of the epoch that was graded, which is not the last one if the agent went back to a checkpoint. In a fork
    it may be an epoch of an ancestor. Then the last one is returned.
    """
    last = replies[-1] if replies else {}
    epochs = (epoch for reply in replies for epoch in reply.get("epochs") or ())
    graded = (epoch for epoch in epochs if epoch["epoch"] == last.get("graded_epoch"))
    found: float | None = next(graded, last).get("val_accuracy")
    return found


def _last_loss(replies: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the training loss of the last step."""
    found: float | None = replies[-1].get("loss") if replies else None
    return found


def _incidents(_reset: Mapping[str, Any], last: Mapping[str, Any]) -> Sequence[str]:
    """Return what had gone wrong. It is told when the episode ends."""
    return tuple(last.get("incidents") or ())


GAMES: Mapping[str, BenchGame] = {
    "tuning": BenchGame(
        name="tuning",
        path="",
        unit="epochs",
        budget="max_epochs",
        spent="current_epoch",
        work="run_epochs",
        amount="num_epochs",
        seen=_accuracy_of_submitted,
        hidden="test_accuracy",
        seen_name="validation accuracy",
        hidden_name="hidden accuracy",
        kinds=_network_kind,
    ),
    "fleet": BenchGame(
        name="fleet",
        path="/fleet",
        unit="virtual seconds",
        budget="reservation_s",
        spent="clock_s",
        work="run_steps",
        amount="",
        seen=_last_loss,
        hidden="held_out_loss",
        seen_name="training loss",
        hidden_name="held-out loss",
        kinds=_incidents,
    ),
}
"""The games by name."""


def find_game(name: str) -> BenchGame:
    """Return a game.

    Raises:
        UnknownGameError: There is no game of this name.
    """
    if name not in GAMES:
        raise UnknownGameError(f"there is no game {name!r}; the games are {', '.join(GAMES)}")
    return GAMES[name]
