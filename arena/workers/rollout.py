"""Plays one episode of a competition's own Gymnasium environment with a submission.

The environment (`env.py`, its creator's) and the agent run in a sandbox each. This side carries observations and
actions between them and counts the rewards, so neither can touch the other, the clock or the score.
"""

import math
import time
from pathlib import Path
from typing import Any

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

__all__ = ["MAX_STEPS", "roll_out"]

MAX_STEPS = 100_000
"""An episode that has not ended by then is ended."""


class _PartyError(Exception):
    """One of the two failed."""

    def __init__(self, party: str, failure: Failure, words: str) -> None:
        super().__init__(words)
        self.party, self.failure = party, failure


class _Party:
    """The environment or the agent: a process that answers value with value."""

    def __init__(self, name: str, process: SandboxedProcess, started_by: float) -> None:
        self.name = name
        self.process = process
        self._expect(Kind.READY, started_by)

    def ask(self, value: Any, deadline: float) -> Any:
        """Its answer to a value.

        Raises:
            _PartyError: It failed.
        """
        try:
            self.process.send(pack(Kind.VALUE, dump(value)))
            return load(self._expect(Kind.VALUE, deadline))
        except ValueFormError as error:
            raise _PartyError(self.name, Failure.BAD_OUTPUT, str(error)) from error
        except SandboxError as error:
            raise self._failed(error) from error

    def _expect(self, kind: Kind, deadline: float) -> bytes:
        try:
            came, body = self.process.receive(deadline)
        except SandboxError as error:
            raise self._failed(error) from error
        if came is Kind.RAISED:
            raise _PartyError(self.name, Failure.CODE_ERROR, body.decode(errors="replace"))
        if came is not kind:
            raise _PartyError(self.name, Failure.BAD_OUTPUT, f"it should have sent {kind.name}, got {came.name}")
        return body

    def _failed(self, error: SandboxError) -> _PartyError:
        return _PartyError(self.name, failure_of(error), str(error))


def roll_out(folder: Path, env_folder: Path, seed: int, agent_seed: int, limits: Limits, layers: Layers) -> RunOutcome:
    """Play an episode.

    Args:
        folder: The submission's files.
        env_folder: The environment's files, `env.py` among them.
        seed: For the environment's `reset`.
        agent_seed: For the agent's constructor.
        limits: For each of the two; `wall_s` is for the episode.
        layers: What holds them.

    Raises:
        OSError: The sandbox cannot be started.
    """
    began = time.monotonic()
    with (
        SandboxedProcess(env_folder, limits, layers, ENVIRONMENT) as env,
        SandboxedProcess(folder, limits, layers, AGENT, (agent_seed,)) as agent,
    ):
        reward, error = None, None
        try:
            started_by = began + limits.start_s
            players = _Party("environment", env, started_by), _Party("agent", agent, started_by)
            began = time.monotonic()
            reward = _episode(*players, seed, began + limits.wall_s)
        except _PartyError as failure:
            error = failure
    wall_s = time.monotonic() - began
    log = printable(agent.log)
    if error is None:
        return RunOutcome(reward, wall_s, agent.peak_memory_bytes, None, None, log)
    words = f"the competition's environment failed: {error}" if error.party == "environment" else str(error)
    return failed(error.failure, printable(words), wall_s, agent.peak_memory_bytes, log)


def _episode(env: _Party, agent: _Party, seed: int, deadline: float) -> float:
    """Sum of the rewards."""
    total = 0.0
    observation, _, _, _ = _step(env, ("reset", seed), deadline)
    for _ in range(MAX_STEPS):
        action = agent.ask(observation, deadline)
        observation, reward, terminated, truncated = _step(env, ("step", action), deadline)
        total += reward
        if not math.isfinite(total):
            raise _PartyError("environment", Failure.BAD_OUTPUT, "the sum of an episode's rewards should be finite")
        if terminated or truncated:
            break
    return total


def _step(env: _Party, deed: tuple[str, Any], deadline: float) -> tuple[Any, float, bool, bool]:
    answer = env.ask(deed, deadline)
    match answer:
        case (observation, float() as reward, bool() as terminated, bool() as truncated) if math.isfinite(reward):
            return observation, reward, terminated, truncated
    words = "a step should give an observation, a finite reward and two flags"
    raise _PartyError("environment", Failure.BAD_OUTPUT, words)
