"""Runs a Gymnasium environment or its agent inside the sandbox, each in its own process.

The outside passes observations and actions between the two processes and sums the rewards.
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
    """Send READY, then answer each observation with an action."""
    folder, channel, (seed,) = enter()

    def make() -> Callable[[Any], Any]:
        agent = make_agent(load_agent(folder), {"seed": int(seed)})
        getattr(agent, "reset", lambda: None)()
        act: Callable[[Any], Any] = getattr(agent, "act", None) or agent.predict
        return act

    _answer_all(channel, folder, make)


def env_main() -> None:
    """Send READY, then answer each `reset` and each `step` with its result."""
    folder, channel, _ = enter()

    def make() -> Callable[[Any], Any]:
        env = load_env(folder)

        def answer(request: Any) -> Any:
            command, value = request
            if command == "reset":
                observation, _ = env.reset(seed=value)
                return observation, 0.0, False, False
            observation, reward, terminated, truncated, _ = env.step(value)
            return observation, float(reward), bool(terminated), bool(truncated)

        return answer

    _answer_all(channel, folder, make)


def _answer_all(channel: socket.socket, folder: Path, make: Callable[[], Callable[[Any], Any]]) -> None:
    """Answer each value, until the other side closes the channel or an exception is raised."""
    try:
        answer = make()
        send(channel, Kind.READY)
        while True:
            send(channel, Kind.VALUE, dump(answer(load(receive(channel)))))
    except EOFError:
        return
    except LoadError as error:
        send(channel, Kind.RAISED, str(error).encode())
    except BaseException as error:  # any exception of a submission is its result, also SystemExit
        send(channel, Kind.RAISED, readable(error, folder).encode(errors="replace"))
