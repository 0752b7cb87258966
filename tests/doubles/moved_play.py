"""Episodes that are played in part on one server and in part on another: drawn calls, and their answers."""

import random
from typing import Any

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.trainer.errors import ConfigError

__all__ = ["FLEET", "TUNING", "Call", "begin", "drawn_calls", "play", "resume"]

Call = tuple[str, dict[str, Any]]

TUNING = "tuning/train/11"
FLEET = "fleet_sticky_node"


def tuning_calls(source: random.Random) -> list[Call]:
    """An episode with checkpoints, changes of the optimizer, refused calls and calls that only read."""
    choices: list[Call] = [
        ("run_epochs", {"num_epochs": source.randint(1, 2)}),
        ("run_epochs", {"num_epochs": 1}),
        ("configure_training", {"optimizer": source.choice(["sgd", "adam", "lion"]), "dropout": 0.1}),
        ("configure_training", {"lr_schedule": "cosine", "learning_rate": 0.01}),
        ("adjust_learning_rate", {"new_lr": source.choice([0.003, -1.0])}),
        ("save_checkpoint", {"name": source.choice("ab")}),
        ("restore_checkpoint", {"name": source.choice("ab")}),
        ("get_training_status", {}),
    ]
    return [("run_epochs", {"num_epochs": 1}), *source.choices(choices, k=6), ("submit_model", {})]


def fleet_calls(source: random.Random) -> list[Call]:
    """An episode with restarts from checkpoints, actions on nodes, refused calls and calls that only read."""
    choices: list[Call] = [
        ("run_steps", {"num_steps": source.randint(1, 40)}),
        ("run_steps", {"num_steps": 4}),
        ("restart", {"checkpoint": source.choice(["newest", "step-0", "nowhere"])}),
        ("inspect", {"kind": "node", "id": "1"}),
        ("set_node", {"node": source.randint(0, 9), "action": source.choice(["replace", "drain"])}),
        ("set_training", {"checkpoint_every": 4}),
        ("query_metrics", {"metric": "loss"}),
    ]
    return [("run_steps", {"num_steps": 5}), *source.choices(choices, k=6), ("run_steps", {"num_steps": 3})]


def drawn_calls(task: str, source: random.Random) -> list[Call]:
    return (fleet_calls if task.startswith("fleet") else tuning_calls)(source)


async def begin(services: Services, task: str, **request: Any) -> OpenEpisode:
    return await services.registry_of(task).open(EpisodeRequest(task_id=task, seed=3, episode_id="e", **request))


async def resume(services: Services, task: str) -> OpenEpisode:
    return await services.registry_of(task).open(EpisodeRequest(episode_id="e", resume=True))


async def play(opened: OpenEpisode, calls: list[Call]) -> list[Any]:
    """The answers to some calls, without what a clock measured and what a cache may change."""
    answers: list[Any] = []
    for tool, arguments in calls:
        try:
            answers.append(_plain(await opened.call(tool, arguments)))
        except (EpisodeError, ConfigError) as refusal:
            answers.append(str(refusal))
    return answers


def _plain(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: _plain(answer[key]) for key in answer if key not in {"from_cache", "epoch_time_s"}}
    return [_plain(one) for one in answer] if isinstance(answer, list) else answer
