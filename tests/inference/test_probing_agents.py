"""The agents that probe, on an episode in memory that has checkpoints, jumps and divergence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.baselines.agent import Agent
from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
from ml_trainer_env.baselines.play import Author, play
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.baselines.session import Brief, CallRefusedError, DatasetBrief, Reply, ToolSpec

AGENTS: Sequence[Agent] = (ProbingAgent(), OneEpochProbes())
SLOW = 1e-5
"""At this learning rate or a lower one training changes nothing."""

every_agent = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)


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
        self._settings: dict[str, Any] = {"learning_rate": 0.001, "batch_size": min(64, largest_batch)}
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

    def call(self, name: str, arguments: Mapping[str, object]) -> Reply:
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
        }


@every_agent
@given(
    budget=st.integers(1, 60),
    batch=st.sampled_from([32, 64, 256]),
    hot=st.sampled_from([1.0, 0.009, 0.004, 0.001]),
    jumps_after=st.integers(1, 60),
    trained=st.integers(0, 6),
)
@settings(max_examples=40, deadline=None)
def test_an_agent_plays_every_episode_to_its_end_by_itself(
    agent: Agent, budget: int, batch: int, hot: float, jumps_after: int, trained: int
) -> None:
    session = DrawnSession(budget, batch, Model(trained), hot, jumps_after)

    turns = play(agent, session)

    assert session.submitted is not None
    assert all(turn.author is Author.AGENT for turn in turns)
    refusals = [turn.outcome.refusal for turn in turns if turn.outcome.refusal]
    assert all("budget is used up" in text or "no such checkpoint" in text or "diverged" in text for text in refusals)
    assert len([name for name, _ in session.calls if name in ("run_epochs", "configure_training")]) < 130


@every_agent
def test_an_agent_spends_the_whole_budget_of_a_quiet_episode(agent: Agent) -> None:
    session = DrawnSession(budget=20)

    turns = play(agent, session)

    assert turns[-1].outcome.reply is not None
    assert turns[-1].outcome.reply["remaining_budget"] == 0
    assert not any(turn.outcome.refusal for turn in turns)


@every_agent
def test_an_agent_whose_training_is_refused_is_closed_by_the_program(agent: Agent) -> None:
    session = DrawnSession(refused_tools=("run_epochs",))

    turns = play(agent, session)

    assert len(turns) < 40


def test_the_prober_keeps_weights_that_know_much_and_drops_those_that_know_nothing() -> None:
    kept, dropped = DrawnSession(budget=8, start=Model(6, 0.95)), DrawnSession(budget=8, start=Model(0, 0.05))

    play(ProbingAgent(), kept)
    play(ProbingAgent(), dropped)

    assert kept.submitted is not None
    assert kept.submitted.ceiling == 0.95
    assert dropped.submitted is not None
    assert dropped.submitted.ceiling == 0.8


def test_the_probers_model_is_the_best_that_it_saw() -> None:
    session = DrawnSession(budget=20, hot=0.009)

    play(ProbingAgent(), session)

    assert session.submitted is not None
    assert not session.submitted.diverged
    assert session.submitted.trained > 1


def test_one_epoch_probes_go_on_with_the_probe_of_the_lowest_loss() -> None:
    session = DrawnSession(budget=20, start=Model(8, 0.9), hot=0.004)

    play(OneEpochProbes(), session)

    restored = [arguments["name"] for name, arguments in session.calls if name == "restore_checkpoint"]
    assert restored[-1] == "kept"
    assert session.submitted is not None
    assert session.submitted.ceiling == 0.9


def test_the_prober_submits_the_present_model_if_a_drift_made_the_best_one_of_before_worse() -> None:
    session = DrawnSession(budget=20, drifts_after=17)

    play(ProbingAgent(), session)

    assert ("restore_checkpoint", {"name": "best"}) in session.calls
    assert session.submitted is not None
    assert session.submitted.adapted == 2


def test_the_prober_submits_the_best_model_of_before_if_what_came_later_spoilt_it() -> None:
    session = DrawnSession(budget=20, spoils_after=12)

    play(ProbingAgent(), session)

    assert session.submitted is not None
    assert session.submitted.ceiling == 0.8
