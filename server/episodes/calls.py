"""From a tool's name and arguments to the episode's method: one table, for live calls and for replays."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.tuning.episode import Episode, OnProgress, ignore_progress
from ml_trainer_env.server.tuning.observation import Reply

__all__ = ["LOOKS", "TOOL_NAMES", "Arguments", "perform"]

Arguments = Mapping[str, Any]
"""What a call was given, by parameter. Parameters that were left out are not in it."""

_Method = Callable[[Episode, Arguments, OnProgress], Awaitable[Reply]]

_METHODS: Mapping[str, _Method] = {
    "configure_training": lambda episode, given, _: episode.configure(
        {name: value for name, value in given.items() if name != "reinitialize"}, given.get("reinitialize", False)
    ),
    "run_epochs": lambda episode, given, tell: episode.run_epochs(given.get("num_epochs"), tell),
    "adjust_learning_rate": lambda episode, given, _: episode.adjust_learning_rate(given.get("new_lr")),
    "toggle_augmentation": lambda episode, given, _: episode.toggle_augmentation(
        given.get("enabled"), given.get("strength")
    ),
    "get_training_status": lambda episode, _, __: episode.status(),
    "submit_model": lambda episode, _, __: episode.submit(),
    "save_checkpoint": lambda episode, given, _: episode.save_checkpoint(given.get("name")),
    "restore_checkpoint": lambda episode, given, _: episode.restore_checkpoint(given.get("name")),
    "list_checkpoints": lambda episode, _, __: episode.list_checkpoints(),
}

TOOL_NAMES = tuple(_METHODS)
"""The tools of an episode."""

LOOKS = frozenset({"get_training_status", "list_checkpoints"})
"""Those that change nothing while there is budget left."""


async def perform(
    episode: Episode, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress
) -> Reply:
    """Carry out a call.

    Raises:
        EpisodeError: There is no such tool, or the episode refused or failed.
        ConfigError: An argument is out of bounds.
    """
    if tool not in _METHODS:
        raise EpisodeError(f"there is no tool {shown(tool)}; there are: {', '.join(TOOL_NAMES)}")
    return await _METHODS[tool](episode, arguments, on_progress)
