"""Plays one match of two submissions in a competition's game.

The game (`env.py`, with PettingZoo's interface for players who take turns) and both agents run in separate sandboxes.
This process passes observations and actions between them.
"""

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_trainer_env.arena.tables import Blame
from ml_trainer_env.arena.workers.outcomes import RunOutcome, failed
from ml_trainer_env.arena.workers.rollout import MAX_STEPS, Player, PlayerError
from permuted_mnist.evaluation.results import Failure
from permuted_mnist.evaluation.sandboxed_agent import printable
from permuted_mnist.sandbox.inside.steps import AGENT, GAME
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.process import SandboxedProcess

__all__ = ["WIN", "Contestant", "play_match"]

WIN, DRAW, LOSS = 1.0, 0.5, 0.0
"""Results of a match."""

_GAME, _OWN, _OPPONENT = "environment", "agent", "opponent"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A submission in a match.

    Attributes:
        folder: Its files, readable by every user.
        layers: Sandbox layers, with the environment of its runtime.
        seed: Seed for its constructor.
    """

    folder: Path
    layers: Layers
    seed: int


def play_match(
    own: Contestant,
    opponent: Contestant,
    env_folder: Path,
    env_layers: Layers,
    seed: int,
    limits: Limits,
    *,
    moves_first: bool,
) -> RunOutcome:
    """Play a match. An opponent that fails has lost.

    Args:
        own: The submission that is evaluated.
        opponent: Whom it meets; may have the same files.
        env_folder: The game's files, including `env.py`.
        env_layers: Sandbox layers of the game.
        seed: Seed for the game's `reset`.
        limits: Limits of each sandbox; `wall_s` limits the match.
        moves_first: Whether the submission is the first player of the game.

    Returns:
        The outcome for the submission; its reward is 1 for a win, 0.5 for a draw and 0 for a loss.

    Raises:
        OSError: The sandbox cannot be started.
    """
    began = time.monotonic()
    with ExitStack() as held:
        game = held.enter_context(SandboxedProcess(env_folder, limits, env_layers, GAME))
        agent, other = (
            held.enter_context(SandboxedProcess(one.folder, limits, one.layers, AGENT, (one.seed,)))
            for one in (own, opponent)
        )
        reward, error = None, None
        try:
            started_by = began + limits.start_s
            env = Player(_GAME, game, started_by)
            seats = Player(_OWN, agent, started_by), Player(_OPPONENT, other, started_by)
            began = time.monotonic()
            reward = _play(env, seats if moves_first else seats[::-1], seed, began + limits.wall_s, moves_first)
        except PlayerError as failure:
            error = failure
    wall_s, ram, log = time.monotonic() - began, agent.peak_memory_bytes, printable(agent.log)
    if error is None:
        return RunOutcome(reward, wall_s, ram, None, None, log)
    if error.player == _OPPONENT:
        return RunOutcome(WIN, wall_s, ram, None, None, f"{log}\nThe opponent failed, so the match is won.")
    if error.player == _GAME:
        message = printable(f"the competition's environment failed: {error}")
        return failed(error.failure, message, wall_s, ram, log, Blame.CHALLENGE)
    return failed(error.failure, printable(str(error)), wall_s, ram, log, Blame.PARTICIPANT)


def _play(env: Player, seats: tuple[Player, ...], seed: int, deadline: float, moves_first: bool) -> float:
    """Play to the end. Returns the result of the submission, who has the first seat if it moves first."""
    turn, observation, is_over, totals = _state(env, ("reset", seed), deadline)
    for _ in range(MAX_STEPS):
        if is_over:
            break
        action = seats[turn].ask(observation, deadline)
        turn, observation, is_over, totals = _state(env, ("step", action), deadline)
    ahead = (totals[0] - totals[1]) * (1 if moves_first else -1)
    return WIN if ahead > 0 else DRAW if ahead == 0 else LOSS


def _state(env: Player, command: tuple[str, Any], deadline: float) -> tuple[int, Any, bool, tuple[float, float]]:
    answer = env.ask(command, deadline)
    match answer:
        case (int() as turn, observation, bool() as is_over, (float() as first, float() as second)) if (
            turn in {0, 1} and math.isfinite(first) and math.isfinite(second)
        ):
            return turn, observation, is_over, (first, second)
    message = "a game should tell whose turn it is, and give finite rewards"
    raise PlayerError(_GAME, Failure.BAD_OUTPUT, message)
