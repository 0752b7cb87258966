"""Runs a Gymnasium environment, a game of two players or an agent inside the sandbox, each in its own process.

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

__all__ = ["AGENT", "ENVIRONMENT", "GAME", "agent_main", "env_main", "game_main"]

AGENT, ENVIRONMENT, GAME = Entry("steps:agent_main"), Entry("steps:env_main"), Entry("steps:game_main")


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


def game_main() -> None:
    """Send READY, then answer each `reset` and each `step` of a game of two players with its state.

    The game has PettingZoo's interface for players who take turns: `possible_agents`, `agent_selection`, `observe`,
    `step`, `rewards`, `terminations` and `truncations`. A state is: whose turn it is (0 or 1), what that player
    observes, whether the game is over, and the sums of the rewards of both players.
    """
    folder, channel, _ = enter()

    def make() -> Callable[[Any], Any]:
        env = load_env(folder)
        players, totals = list(env.possible_agents), [0.0, 0.0]
        if len(players) != 2:
            raise ValueError(f"a game should have two players, and this one has {len(players)}")

        def answer(request: Any) -> Any:
            command, value = request
            if command == "reset":
                env.reset(seed=value)
                totals[:] = [0.0, 0.0]
            else:
                env.step(value)
                for seat, player in enumerate(players):
                    totals[seat] += float(env.rewards.get(player, 0.0))
            is_over = not env.agents or any(env.terminations.values()) or any(env.truncations.values())
            turn = 0 if is_over else players.index(env.agent_selection)
            observation = None if is_over else env.observe(env.agent_selection)
            return turn, observation, is_over, (totals[0], totals[1])

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
