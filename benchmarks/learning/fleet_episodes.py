"""The fleet's environment as the learner plays it: episodes that share steps, and a policy that remembers one step."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from ml_trainer_env.in_process.fleet import LocalFleetSession
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.integrations.gymnasium.fleet_env import FleetEnv
from ml_trainer_env.integrations.gymnasium.fleet_features import BOUND
from ml_trainer_env.integrations.gymnasium.fleet_view import View
from ml_trainer_env.server.episodes.states import Inquiry, MeasurementPlan, StateRef, Unit, UnitPlan
from ml_trainer_env.server.episodes.units import OnWait, UnitSource
from ml_trainer_env.server.executors.contract import wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.fleet.tasks import task_at
from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["Recall", "SharingFleetEnv", "SharingSource"]

Floats = npt.NDArray[np.float32]


class SharingSource:
    """A source that trains no step twice: the key of a step is a hash of everything that it depends on.

    Args:
        live: Trains the steps.
        known: The steps that were trained before, by key, with their states (0.4 MB each). It grows.
    """

    def __init__(self, live: UnitSource, known: dict[str, Unit]) -> None:
        self._live, self._known = live, known

    async def identity(self) -> Identity:
        """Return the identity of the live source."""
        return await self._live.identity()

    async def units(
        self, ref: StateRef, plan: UnitPlan, count: int, on_wait: OnWait = wait_quietly
    ) -> AsyncGenerator[Unit, None]:
        """Yield steps that are known, and train the others."""
        identity = (await self.identity()).key
        while count and (unit := self._known.get(plan.key(identity, ref.key, ref.position))) is not None:
            yield unit
            if plan.ends(unit.figures):
                return
            ref, count = unit.ref, count - 1
        if count:
            async with aclosing(self._live.units(ref, plan, count, on_wait)) as units:
                async for unit in units:
                    self._known[unit.ref.key] = unit
                    yield unit

    async def measure(self, ref: StateRef, plan: MeasurementPlan) -> Figures:
        """Measure a state with the live source."""
        return await self._live.measure(ref, plan)

    async def inquire(self, inquiry: Inquiry) -> Figures:
        """Carry an inquiry out with the live source."""
        return await self._live.inquire(inquiry)

    async def keep(self, ref: StateRef) -> StateRef:
        """Keep a state as the live source does."""
        return await self._live.keep(ref)


class SharingFleetEnv(FleetEnv):
    """`MLFleet-v0`, whose episodes of one task and seed share their steps as long as the next one is of it, too.

    What is alike until the first act that differs is trained once, for agents and references, too. The bits are those
    of an episode that is played alone.
    """

    @property
    def view(self) -> View:
        """What the agent sees."""
        return self._view

    @property
    def run(self) -> FleetRun:
        """The run with all its secrets. For a teacher."""
        assert self._session is not None
        return self._session.episode.run

    def new_session(self, index: int, seed: int) -> LocalFleetSession:
        """Return the session of a new episode."""
        task, trainer = task_at(self.split, index), trainer_of_process()
        known = _steps_of(task.id, seed)
        references = self._references.of(task, task.seed + seed, SharingSource(trainer.source, known))
        session = LocalFleetSession(trainer, task, task.seed + seed, references)
        session.episode.source = SharingSource(session.episode.source, known)
        return session


def _steps_of(task: str, seed: int) -> dict[str, Unit]:
    """Return the steps of a task and seed. Those of another one are forgotten."""
    kept = _kept()
    if (task, seed) not in kept:
        kept.clear()
        kept[task, seed] = {}
    return kept[task, seed]


@cache
def _kept() -> dict[tuple[str, int], dict[str, Unit]]:
    return {}


class Recall(gymnasium.Wrapper[Floats, np.int64, Floats, np.int64]):
    """Shows the last observation, the one before, and which act lay between them."""

    def __init__(self, env: SharingFleetEnv) -> None:
        super().__init__(env)
        assert isinstance(env.action_space, gymnasium.spaces.Discrete)
        assert env.observation_space.shape is not None
        self._acts = int(env.action_space.n)
        self._before = np.zeros(env.observation_space.shape, np.float32)
        size = 2 * len(self._before) + self._acts
        self.observation_space = gymnasium.spaces.Box(-BOUND, BOUND, (size,), np.float32)

    def reset(self, **options: Any) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode. There was no observation before, and no act."""
        observation, info = self.env.reset(**options)
        self._before = observation
        return self._joined(observation, np.zeros_like(observation), None), info

    def step(self, action: np.int64) -> tuple[Floats, Any, bool, bool, dict[str, Any]]:
        """Carry out an act."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        shown = self._joined(observation, self._before, int(action))
        self._before = observation
        return shown, reward, terminated, truncated, info

    def _joined(self, observation: Floats, before: Floats, action: int | None) -> Floats:
        return np.concatenate([observation, before, np.arange(self._acts) == action], dtype=np.float32)
