"""An episode in memory that has checkpoints, forks, jumps and divergence, as drawn tasks of the family have them."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from ml_trainer_env.baselines.session import Brief, CallRefusedError, DatasetBrief, GameSession, Reply, ToolSpec

SLOW = 1e-5
"""At this learning rate or a lower one training changes nothing."""

DEFAULT: Mapping[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.001,
    "batch_size": 64,
    "weight_decay": 0.0,
    "dropout": 0.2,
    "lr_schedule": "constant",
    "warmup_epochs": 0,
    "augmentation": False,
    "augmentation_strength": 0.5,
}
"""The settings that an episode begins with."""


@dataclass(frozen=True)
class Model:
    """A model in memory: how far it is trained, also on the inputs after a drift, and towards which accuracy."""

    trained: int = 0
    ceiling: float = 0.8
    adapted: int = 0
    diverged: bool = False


class DrawnSession:
    """An episode in memory, as a drawn task has them.

    Args:
        budget: Epochs.
        largest_batch: The largest batch size.
        start: The model that the agent is given.
        hot: From this learning rate on, training diverges.
        jumps_after: Once so many epochs are spent, losses are higher.
        drifts_after: Once so many epochs are spent, a model is half as good until it has been trained on.
        spoils_after: Once so many epochs are spent, each epoch lowers the accuracy that a model can reach.
        refused_tools: Tools that are refused always.
    """

    def __init__(
        self,
        budget: int = 12,
        largest_batch: int = 256,
        start: Model = Model(),  # frozen
        hot: float = 1.0,
        jumps_after: int = 10**6,
        drifts_after: int = 10**6,
        spoils_after: int = 10**6,
        refused_tools: Sequence[str] = (),
    ) -> None:
        self.tools: Sequence[ToolSpec] = ()
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.model = start
        self.submitted: Model | None = None
        self._budget, self._spent = budget, 0
        self._largest_batch, self._hot, self._jumps_after = largest_batch, hot, jumps_after
        self._refused_tools = refused_tools
        self._drifts_after, self._spoils_after = drifts_after, spoils_after
        self._settings: dict[str, Any] = {**DEFAULT, "batch_size": min(64, largest_batch)}
        self._kept: dict[str, Model] = {}
        self.brief = Brief(
            episode_id="e",
            task_id="tuning/train/1",
            name="A task",
            description="Tell 3 classes apart.",
            difficulty="3",
            network="mlp",
            parameter_count=100,
            dataset=DatasetBrief("segment", "bundled", 400, 200, 300),
            budget_epochs=budget,
            target_metric="score",
            target_value=1.0,
            seed=1,
            rubric="v3",
            status=self._status(),
            largest_batch=largest_batch,
        )

    @property
    def spent(self) -> int:
        """Epochs of the episode, with those of its parent."""
        return self._spent

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        self.calls.append((name, dict(arguments)))
        if name in self._refused_tools:
            raise CallRefusedError(f"{name} is refused")
        if self.submitted is not None:
            raise CallRefusedError("the episode is over")
        match name:
            case "configure_training":
                self._configure(dict(arguments))
            case "run_epochs":
                self._run(int(str(arguments["num_epochs"])))
            case "save_checkpoint":
                if self.model.diverged:
                    raise CallRefusedError("training has diverged")
                self._kept[str(arguments["name"])] = self.model
            case "restore_checkpoint":
                if arguments["name"] not in self._kept:
                    raise CallRefusedError("there is no such checkpoint")
                self.model = self._kept[str(arguments["name"])]
            case "adjust_learning_rate":
                self._configure({"learning_rate": float(str(arguments["new_lr"]))})
            case "submit_model":
                if not self._spent:
                    raise CallRefusedError("there is nothing to submit")
                self.submitted = self.model
            case _:
                raise AssertionError(f"an agent called {name}")
        return self._status()

    def _configure(self, changes: dict[str, Any]) -> None:
        if changes.get("batch_size", 0) > self._largest_batch:
            raise CallRefusedError("batch_size is too large")
        if not 0 < changes.get("learning_rate", 0.1) <= 10:
            raise CallRefusedError("learning_rate is out of bounds")
        if not 0 <= changes.get("dropout", 0.0) <= 0.5 or not 0 <= changes.get("augmentation_strength", 0.0) <= 1:
            raise CallRefusedError("regularisation is out of bounds")
        if changes.pop("reinitialize", False):
            self.model = Model()
        self._settings |= changes

    def _run(self, epochs: int) -> None:
        if not 1 <= epochs <= 20:
            raise CallRefusedError("num_epochs must be 1 to 20")
        if self.model.diverged:
            raise CallRefusedError("training has diverged")
        if self._spent >= self._budget:
            raise CallRefusedError("the budget is used up")
        for _ in range(min(epochs, self._budget - self._spent)):
            self._spent += 1
            hot = self._settings["learning_rate"] >= self._hot
            self.model = replace(self.model, trained=self.model.trained + 1, diverged=hot)
            if self._spent > self._drifts_after:
                self.model = replace(self.model, adapted=self.model.adapted + 1)
            if self._spent > self._spoils_after and self._settings["learning_rate"] > SLOW:
                self.model = replace(self.model, ceiling=self.model.ceiling * 0.9)
            if hot:
                break

    def fork(self) -> "DrawnSession":
        """Begin an episode where this one stands."""
        forked = copy(self)
        forked.calls, forked._settings, forked._kept = [], dict(self._settings), dict(self._kept)
        return forked

    def _status(self) -> dict[str, Any]:
        model, accuracy = self.model, self.model.ceiling * (1 - 0.5**self.model.trained)
        if self._spent > self._drifts_after:
            accuracy *= 1 - 0.5 ** (model.adapted + 1)
        loss = 1 - accuracy + (2.0 if self._spent > self._jumps_after else 0.0)
        shown = None if model.diverged else loss
        return {
            "current_epoch": self._spent,
            "remaining_budget": self._budget - self._spent,
            "val_loss": shown,
            "train_loss": shown,
            "val_accuracy": 0.1 if model.diverged else accuracy,
            "train_accuracy": accuracy + 0.15,
            "is_diverged": model.diverged,
            "done": self.submitted is not None,
            "score": None if self.submitted is None else accuracy,
            "configuration": dict(self._settings),
        }


class DrawnSessions:
    """Begins and forks episodes in memory.

    Args:
        options: Arguments of each `DrawnSession`.

    Attributes:
        opened: All sessions, with the epochs that each had spent when it began.
        discarded: Those that were given up.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.opened: list[tuple[DrawnSession, int]] = []
        self.discarded: list[GameSession[Brief]] = []

    def begin(self) -> DrawnSession:
        """Begin an episode."""
        return self._open(DrawnSession(**self._options))

    def fork(self, of: GameSession[Brief]) -> DrawnSession:
        """Begin an episode where another one stands."""
        assert isinstance(of, DrawnSession)
        return self._open(of.fork())

    def discard(self, session: GameSession[Brief]) -> None:
        """Give up an episode."""
        self.discarded.append(session)

    @property
    def trained(self) -> int:
        """Epochs that all branches trained themselves."""
        return sum(session.spent - inherited for session, inherited in self.opened)

    def _open(self, session: DrawnSession) -> DrawnSession:
        self.opened.append((session, session.spent))
        return session
