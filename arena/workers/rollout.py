"""Plays one episode of a competition's Gymnasium environment with a submission.

The creator's environment (`env.py`) and the agent run in separate sandboxes. This process passes observations and
actions between them and sums the rewards. So neither can influence the other, the clock or the score.
"""

import math
import time
from pathlib import Path
from typing import Any

from ml_trainer_env.arena.tables import Blame
from ml_trainer_env.arena.workers.outcomes import RunOutcome, failed
from permuted_mnist.evaluation.results import Failure, failure_of
from permuted_mnist.evaluation.sandboxed_agent import printable
from permuted_mnist.sandbox.errors import SandboxError
from permuted_mnist.sandbox.inside.frames import Kind, pack
from permuted_mnist.sandbox.inside.steps import AGENT, ENVIRONMENT
from permuted_mnist.sandbox.inside.values import ValueFormError, dump, load
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.process import SandboxedProcess

__all__ = ["MAX_STEPS", "Player", "PlayerError", "roll_out"]

MAX_STEPS = 100_000
"""An episode is truncated after this many steps."""


class PlayerError(Exception):
    """The environment or the agent failed."""

    def __init__(self, player: str, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.player, self.failure = player, failure


class Player:
    """The sandboxed process of the environment or of the agent. It answers each value with a value."""

    def __init__(self, name: str, process: SandboxedProcess, started_by: float) -> None:
        self.name = name
        self.process = process
        self._receive(Kind.READY, started_by)

    def ask(self, value: Any, deadline: float) -> Any:
        """Send a value and wait for the answer.

        Raises:
            PlayerError: The process failed.
        """
        try:
            self.process.send(pack(Kind.VALUE, dump(value)))
            return load(self._receive(Kind.VALUE, deadline))
        except ValueFormError as error:
            raise PlayerError(self.name, Failure.BAD_OUTPUT, str(error)) from error
        except SandboxError as error:
            raise self._failed(error) from error

    def _receive(self, kind: Kind, deadline: float) -> bytes:
        try:
            received, body = self.process.receive(deadline)
        except SandboxError as error:
            raise self._failed(error) from error
        if received is Kind.RAISED:
            raise PlayerError(self.name, Failure.CODE_ERROR, body.decode(errors="replace"))
        if received is not kind:
            raise PlayerError(self.name, Failure.BAD_OUTPUT, f"it should have sent {kind.name}, got {received.name}")
        return body

    def _failed(self, error: SandboxError) -> PlayerError:
        return PlayerError(self.name, failure_of(error), str(error))


def roll_out(
    folder: Path,
    env_folder: Path,
    seed: int,
    agent_seed: int,
    limits: Limits,
    layers: Layers,
    env_layers: Layers | None = None,
) -> RunOutcome:
    """Play an episode.

    Args:
        folder: The submission's files.
        env_folder: The environment's files, including `env.py`.
        seed: Seed for the environment's `reset`.
        agent_seed: Seed for the agent's constructor.
        limits: Limits of each sandbox; `wall_s` limits the episode.
        layers: Sandbox layers.
        env_layers: Those of the environment, if they differ: it may have another runtime.

    Raises:
        OSError: The sandbox cannot be started.
    """
    began = time.monotonic()
    with (
        SandboxedProcess(env_folder, limits, env_layers or layers, ENVIRONMENT) as env,
        SandboxedProcess(folder, limits, layers, AGENT, (agent_seed,)) as agent,
    ):
        reward, error = None, None
        try:
            started_by = began + limits.start_s
            players = Player("environment", env, started_by), Player("agent", agent, started_by)
            began = time.monotonic()
            reward = _episode(*players, seed, began + limits.wall_s)
        except PlayerError as failure:
            error = failure
    wall_s = time.monotonic() - began
    log = printable(agent.log)
    if error is None:
        return RunOutcome(reward, wall_s, agent.peak_memory_bytes, None, None, log)
    if error.player == "environment":
        owner, message = Blame.CHALLENGE, f"the competition's environment failed: {error}"
    else:
        owner, message = Blame.PARTICIPANT, str(error)
    return failed(error.failure, printable(message), wall_s, agent.peak_memory_bytes, log, owner)


def _episode(env: Player, agent: Player, seed: int, deadline: float) -> float:
    """Play the steps of an episode. Returns the sum of the rewards."""
    total = 0.0
    observation, _, _, _ = _step(env, ("reset", seed), deadline)
    for _ in range(MAX_STEPS):
        action = agent.ask(observation, deadline)
        observation, reward, terminated, truncated = _step(env, ("step", action), deadline)
        total += reward
        if not math.isfinite(total):
            raise PlayerError("environment", Failure.BAD_OUTPUT, "the sum of an episode's rewards should be finite")
        if terminated or truncated:
            break
    return total


def _step(env: Player, command: tuple[str, Any], deadline: float) -> tuple[Any, float, bool, bool]:
    answer = env.ask(command, deadline)
    match answer:
        case (observation, float() as reward, bool() as terminated, bool() as truncated) if math.isfinite(reward):
            return observation, reward, terminated, truncated
    message = "a step should give an observation, a finite reward and two flags"
    raise PlayerError("environment", Failure.BAD_OUTPUT, message)
