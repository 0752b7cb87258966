"""The agents that can take part, by game and name. The one place where the benchmark names agents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ml_trainer_env.baselines.agent import GameAgent
from ml_trainer_env.baselines.chat_model import ChatModel
from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
from ml_trainer_env.baselines.fleet.prompt import FleetPrompts
from ml_trainer_env.baselines.fleet.simple import NothingAgent, ScriptedAgent
from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.llm import GameLlmAgent, LlmAgent
from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.baselines.random_agent import RandomAgent
from ml_trainer_env.baselines.settings import LlmSettings
from ml_trainer_env.calibration.portfolio import DEFAULT, RECIPES

__all__ = ["MODEL_NAMES", "NAMES", "Entrant", "ForkingAgent", "LanguageModel", "entrants"]

NAMES: Mapping[str, tuple[str, ...]] = {
    "tuning": ("nothing", "random", "recipe", "heuristic", "prober", "one-epoch-probes"),
    "fleet": ("nothing", "scripted", "detective"),
}
"""The agents of each game that need no language model."""

MODEL_NAMES: Mapping[str, tuple[str, ...]] = {"tuning": ("llm",), "fleet": ("llm",)}
"""The agents of each game that need one."""


@runtime_checkable
class ForkingAgent(Protocol):
    """Plays an episode on several branches; see `sessions.TaskSessions`."""

    @property
    def name(self) -> str:
        """Short name, used in reports."""

    def play(self, sessions: Any) -> Any:
        """Play, and submit the model of one branch. Returns its session."""


Entrant = GameAgent[Any] | ForkingAgent
"""Whoever takes part in a comparison."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A language model that agents may ask.

    Attributes:
        chat: The open connection.
        settings: Includes its name and the number of decisions of an episode.
    """

    chat: ChatModel
    settings: LlmSettings


def entrants(game: str, model: LanguageModel | None = None) -> Mapping[str, Callable[[], Entrant]]:
    """Return what creates the agents of a game, by name.

    What is random in an agent depends on the task and the seed of the episode alone.

    Args:
        game: Name of the game.
        model: For the agents of `MODEL_NAMES`. They are left out if it is None.
    """
    return _fleet(model) if game == "fleet" else _tuning(model)


def _tuning(model: LanguageModel | None) -> Mapping[str, Callable[[], Entrant]]:
    found: dict[str, Callable[[], Entrant]] = {
        "nothing": lambda: DEFAULT,
        "random": RandomAgent,
        "recipe": lambda: RECIPES[1],
        "heuristic": HeuristicAgent,
        "prober": ProbingAgent,
        "one-epoch-probes": OneEpochProbes,
    }
    if model is not None:
        found["llm"] = lambda: LlmAgent(model.chat, model.settings)
    return found


def _fleet(model: LanguageModel | None) -> Mapping[str, Callable[[], Entrant]]:
    found: dict[str, Callable[[], Entrant]] = {
        "nothing": NothingAgent,
        "scripted": ScriptedAgent,
        "detective": DetectiveAgent,
    }
    if model is not None:
        chat, settings = model.chat, model.settings
        found["llm"] = lambda: GameLlmAgent(chat, settings.model, FleetPrompts(), lambda _: settings.fleet_steps)
    return found
