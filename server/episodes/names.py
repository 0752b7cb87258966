"""Rules for the names of episodes and of agents, which clients choose."""

import re
import uuid

from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.trainer.limits import shown

__all__ = ["MAX_AGENT_CHARACTERS", "check_agent_name", "check_episode_name", "new_episode_name"]

_NAME = re.compile(r"[^\s@/\\][^@\n]{0,127}")

MAX_AGENT_CHARACTERS = 64
"""Length limit of an agent's name."""


def new_episode_name(episode_id: object) -> str:
    """Return the name of a new episode: the one that the client chose, or a random one if it is None.

    Raises:
        ResetError: The name is not allowed.
    """
    return str(uuid.uuid4()) if episode_id is None else check_episode_name(episode_id)


def check_episode_name(episode_id: object) -> str:
    """Return the name of an episode if it is allowed. Raises ResetError."""
    if isinstance(episode_id, str) and _NAME.fullmatch(episode_id) and episode_id.isprintable():
        return episode_id
    raise ResetError(f"episode_id must be 1 to 128 printable characters without @, got {shown(episode_id)}")


def check_agent_name(agent: object) -> str | None:
    """Return the name of an agent if it may be shown. Raises ResetError."""
    if agent is None:
        return None
    if isinstance(agent, str) and agent.isprintable() and 0 < len(agent.strip()) == len(agent) <= MAX_AGENT_CHARACTERS:
        return agent
    raise ResetError(
        f"agent must be a name of 1 to {MAX_AGENT_CHARACTERS} printable characters, without blanks at its ends, got "
        f"{shown(agent)}"
    )
