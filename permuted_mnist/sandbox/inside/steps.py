"""Both ends of an episode of a Gymnasium environment: a process for the environment, another for the agent.

They never meet: the side outside carries observations and actions between them, and counts the rewards.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .entry import Entry, enter
from .frames import Kind, receive, send
from .loading import LoadError, load_agent, load_env, make_agent
from .play import readable
from .values import dump, load

__all__ = ["AGENT", "ENVIRONMENT", "agent_main", "env_main"]

AGENT, ENVIRONMENT = Entry("steps:agent_main"), Entry("steps:env_main")


def agent_main() -> None:
    """READY; then an action for each observation."""
    folder, channel, (seed,) = enter()

    def make() -> Callable[[Any], Any]:
        agent = make_agent(load_agent(folder), {"seed": int(seed)})
        getattr(agent, "reset", lambda: None)()
        act: Callable[[Any], Any] = getattr(agent, "act", None) or agent.predict
        return act

    _converse(channel, folder, make)


def env_main() -> None:
    """READY; then what comes of each reset and each step."""
    folder, channel, _ = enter()

    def make() -> Callable[[Any], Any]:
        env = load_env(folder)

        def answer(wanted: Any) -> Any:
            deed, value = wanted
            if deed == "reset":
                observation, _ = env.reset(seed=value)
                return observation, 0.0, False, False
            observation, reward, terminated, truncated, _ = env.step(value)
            return observation, float(reward), bool(terminated), bool(truncated)

        return answer

    _converse(channel, folder, make)


def _converse(channel: socket.socket, folder: Path, make: Callable[[], Callable[[Any], Any]]) -> None:
    """Answer value by value, until the other side goes or something is raised."""
    try:
        answer = make()
        send(channel, Kind.READY)
        while True:
            send(channel, Kind.VALUE, dump(answer(load(receive(channel)))))
    except EOFError:
        return
    except LoadError as error:
        send(channel, Kind.RAISED, str(error).encode())
    except BaseException as error:  # whatever a submission raises is its result, SystemExit too
        send(channel, Kind.RAISED, readable(error, folder).encode(errors="replace"))
