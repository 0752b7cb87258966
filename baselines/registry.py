"""The agents of each game by name: what `inference.py --agent` and the benchmark of agents take.

The names are known without importing an agent, because imports of some are slow. Every agent gets the same episode: the
settings that it begins with are the default configuration. Agents that search train with it first. The same agents
under a name that ends in `-no-default` make a proposal of their own instead, so that its worth can be measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ml_trainer_env.baselines.run_log import Record, record_nothing

if TYPE_CHECKING:
    from ml_trainer_env.baselines.chat_model import ChatModel
    from ml_trainer_env.baselines.forks import Entrant
    from ml_trainer_env.baselines.settings import LlmSettings

__all__ = ["MODEL_NAMES", "NAMES", "NO_DEFAULT", "SEARCHES", "LanguageModel", "entrants"]

TUNING, FLEET = "tuning", "fleet"

SEARCHES = ("adaptive", "random-search", "tpe", "cma-es", "halving", "pbt")
"""The agents of the tuning game whose first proposal is the default configuration."""

NO_DEFAULT = "-no-default"
"""With this suffix the first proposal is not the default configuration."""

NAMES: Mapping[str, tuple[str, ...]] = {
    TUNING: (
        "nothing",
        "random",
        "recipe",
        "heuristic",
        "prober",
        "one-epoch-probes",
        *SEARCHES,
        *(f"{name}{NO_DEFAULT}" for name in SEARCHES),
    ),
    FLEET: ("nothing", "scripted", "detective"),
}
"""The agents of each game that need no language model."""

MODEL_NAMES: Mapping[str, tuple[str, ...]] = {
    TUNING: ("llm", "hybrid", f"hybrid{NO_DEFAULT}"),
    FLEET: ("llm",),
}
"""The agents of each game that need one."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A language model that agents may ask.

    Attributes:
        chat: The open connection.
        settings: Includes its name and the number of decisions of an episode.
        record: Records each message of a conversation.
    """

    chat: "ChatModel"
    settings: "LlmSettings"
    record: Record = record_nothing


def entrants(game: str, model: LanguageModel | None = None) -> "Mapping[str, Callable[[], Entrant]]":
    """Return what creates the agents of a game, by name.

    Each call of a value creates an agent. It plays any number of episodes, one after another. What is random in it
    depends on the task and the seed of the episode alone.

    Args:
        game: `tuning` or `fleet`.
        model: For the agents of `MODEL_NAMES`. They are left out if it is None.

    Raises:
        ValueError: There is no such game.
    """
    if game == TUNING:
        return _tuning(model)
    if game == FLEET:
        return _fleet(model)
    raise ValueError(f"there is no game {game!r}; the games are {', '.join(NAMES)}")


def _tuning(model: LanguageModel | None) -> "Mapping[str, Callable[[], Entrant]]":
    from ml_trainer_env.baselines.adaptive import AdaptiveAgent
    from ml_trainer_env.baselines.heuristic import HeuristicAgent
    from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
    from ml_trainer_env.baselines.prober import ProbingAgent
    from ml_trainer_env.baselines.random_agent import RandomAgent
    from ml_trainer_env.baselines.search.agent import SearchAgent
    from ml_trainer_env.baselines.search.halving import HalvingAgent
    from ml_trainer_env.baselines.search.optuna_search import cma_es_proposer, tpe_proposer
    from ml_trainer_env.baselines.search.population import PopulationAgent
    from ml_trainer_env.baselines.search.proposers import random_proposer
    from ml_trainer_env.baselines.simple import NothingAgent, RecipeAgent

    searches: dict[str, Callable[[str, bool], Entrant]] = {
        "adaptive": lambda name, first: AdaptiveAgent(name, default_first=first),
        "random-search": lambda name, first: SearchAgent(name, random_proposer, default_first=first),
        "tpe": lambda name, first: SearchAgent(name, tpe_proposer, default_first=first),
        "cma-es": lambda name, first: SearchAgent(name, cma_es_proposer, default_first=first),
        "halving": lambda name, first: HalvingAgent(name, default_first=first),
        "pbt": lambda name, first: PopulationAgent(name, default_first=first),
    }
    found: dict[str, Callable[[], Entrant]] = {
        "nothing": NothingAgent,
        "random": RandomAgent,
        "recipe": RecipeAgent,
        "heuristic": HeuristicAgent,
        "prober": ProbingAgent,
        "one-epoch-probes": OneEpochProbes,
    }
    found |= {name: partial(create, name, True) for name, create in searches.items()}
    found |= {name + NO_DEFAULT: partial(create, name + NO_DEFAULT, False) for name, create in searches.items()}
    if model is not None:
        # A late import: the API's client takes a second to import.
        from ml_trainer_env.baselines.llm import LlmAgent
        from ml_trainer_env.baselines.search.hybrid import Hybrid

        found["llm"] = lambda: LlmAgent(model.chat, model.settings, model.record)
        for suffix, first in (("", True), (NO_DEFAULT, False)):
            name, agent = f"hybrid{suffix}", f"hybrid{suffix}:{model.settings.model}"
            hybrid = Hybrid(model.chat, model.settings.hybrid_share, record=model.record)
            found[name] = partial(SearchAgent, agent, hybrid, default_first=first)
    return found


def _fleet(model: LanguageModel | None) -> "Mapping[str, Callable[[], Entrant]]":
    from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
    from ml_trainer_env.baselines.fleet.simple import NothingAgent, ScriptedAgent

    found: dict[str, Callable[[], Entrant]] = {
        "nothing": NothingAgent,
        "scripted": ScriptedAgent,
        "detective": DetectiveAgent,
    }
    if model is not None:
        from ml_trainer_env.baselines.fleet.prompt import FleetPrompts
        from ml_trainer_env.baselines.llm import GameLlmAgent

        chat, settings = model.chat, model.settings
        found["llm"] = lambda: GameLlmAgent(
            chat, settings.model, FleetPrompts(), lambda _: settings.fleet_steps, model.record
        )
    return found
