"""The training run of an episode: its state, its cluster, its checkpoints, and the virtual time.

Without any action the run does what a launcher such as torchrun does: after a death it restarts from the checkpoint
that was saved or read last. A run gets its steps from a source of units. It knows no calls, rewards and grades; see
`episode`.
"""

import asyncio
import math
import statistics
from contextlib import aclosing
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from ml_trainer_env.server.episodes.errors import EpisodeError, TrainingStoppedError
from ml_trainer_env.server.episodes.interruption import InterruptedWorkError, Interruption
from ml_trainer_env.server.episodes.progress import OnProgress, Progress, ignore_progress
from ml_trainer_env.server.episodes.states import StateRef, Unit
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.fleet.actions import ClusterAction, Machines
from ml_trainer_env.server.fleet.events import Event
from ml_trainer_env.server.fleet.plans import Measurement, StepPlan, fleet_text, fresh_ref
from ml_trainer_env.server.fleet.restarts import Restart, SavedCheckpoint, restarted
from ml_trainer_env.server.fleet.rows import StepRow
from ml_trainer_env.server.fleet.timing import BROADCAST_US, HANG_TIMEOUT_US, RESTART_US, SAVE_US, STALL_US
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.faults import Scenario
from ml_trainer_env.server.trainer.fleet.settings import (
    RANKS,
    RESERVATION_US,
    Adjustment,
    Cluster,
    StepSettings,
    TrainingSettings,
)
from ml_trainer_env.server.trainer.limits import shown

__all__ = ["FIRST_CHECKPOINT", "MAX_CHECKPOINTS", "FleetRun", "StopOn"]

MAX_CHECKPOINTS = 10
"""The newest checkpoints are kept, and the state before the first step."""

FIRST_CHECKPOINT = "step-0"
"""Id of the state before the first step."""

_SPIKE_LOSS = 0.5
_SPIKE_STEPS = 10
"""A spike is a loss that is this much above the mean of as many steps before."""

Result = TypeVar("Result")


class StopOn(StrEnum):
    """What ends a call of `run_steps` before its steps are taken."""

    NOTHING = "nothing"
    RESTART = "restart"
    NONFINITE = "nonfinite"
    SPIKE = "spike"


class FleetRun:
    """A run on a fleet.

    Args:
        seed: Seed of weights, data and noise.
        scenario: What goes wrong.
        spares: Number of spare nodes.
        source: The source of steps.
        call_s: Time limit of a call, in seconds.

    Attributes:
        source: The source of steps.
        training: The settings of the next step.
        cluster: The cluster of the next step.
        spares: The spare nodes.
        drained: Nodes that were drained and can be restored.
        units: The units of work, in order: steps, and what was left of those in which a rank stopped.
        rows: The steps, in order.
        events: What happened besides, in order.
        checkpoints: The checkpoints, oldest first.
        newest: The one that was saved or read last. The launcher restarts from it.
        stalled_us: The moment at which a rank hung. None if none hangs.
    """

    def __init__(self, seed: int, scenario: Scenario, spares: int, source: UnitSource, call_s: float) -> None:
        self.source = source
        self.training = TrainingSettings(**scenario.first_settings)  # type: ignore[arg-type]
        self.cluster = Cluster()
        self.spares = tuple(range(RANKS, RANKS + spares))
        self.drained: tuple[int, ...] = ()
        self.units: list[Unit] = []
        self.rows: list[StepRow] = []
        self.events: list[Event] = []
        self.stalled_us: int | None = None
        self.ref = fresh_ref(seed)
        self.newest = SavedCheckpoint(FIRST_CHECKPOINT, self.ref, 0, None, None)
        self.checkpoints = [self.newest]
        self.seed = seed
        self.scenario = scenario
        self._call_s = call_s
        self._text = fleet_text()
        self._state_us = 0
        self._offset_us = 0
        self._adjustment: Adjustment | None = None
        self._is_recording = self.training.record_activations
        self._interruption = Interruption()

    # State.

    @property
    def step(self) -> int:
        """Number of steps of the current state."""
        return self.ref.position

    @property
    def now_us(self) -> int:
        """Virtual time, in microseconds."""
        return self._state_us + self._offset_us

    @property
    def is_spent(self) -> bool:
        """Whether the reservation is spent."""
        return self.now_us >= RESERVATION_US

    @property
    def needed_keys(self) -> list[str]:
        """The keys of the states that the run may continue from."""
        return [self.ref.key, *(kept.ref.key for kept in self.checkpoints)]

    @property
    def settings(self) -> StepSettings:
        """The settings of the next step."""
        training = replace(self.training, record_activations=self._is_recording)
        return StepSettings(training, self.cluster, self.scenario, self._adjustment, self._offset_us)

    # Steps.

    async def train(
        self, steps: int, stop_on: StopOn = StopOn.NOTHING, on_progress: OnProgress = ignore_progress
    ) -> None:
        """Take steps, until the reservation is spent or a rank hangs.

        A step in which a rank stopped counts.

        Args:
            steps: Number of steps.
            stop_on: What else ends it; see `StopOn`.
            on_progress: Called after each step, and while a step waits for a worker.

        Raises:
            TrainingStoppedError: It was stopped. Its completed steps count.
        """
        first = len(self.units)
        try:
            async with asyncio.timeout(self._call_s):
                await self._train(steps, stop_on, on_progress)
        except (ExecutorError, TimeoutError, InterruptedWorkError) as error:
            reason = str(error) or f"the call took longer than {self._call_s:g} s"
            done = len(self.units) - first
            raise TrainingStoppedError(
                f"training failed: {reason}. {done} of {steps} steps were taken and count; call run_steps again"
            ) from error
        finally:
            self.forget_interruption()
            self.ref = await self.source.keep(self.ref)
            self.checkpoints = [replace(kept, ref=await self.source.keep(kept.ref)) for kept in self.checkpoints]
            self.newest = next((kept for kept in self.checkpoints if kept.id == self.newest.id), self.newest)

    async def _train(self, steps: int, stop_on: StopOn, on_progress: OnProgress) -> None:
        first = len(self.units)

        def waiting(position: int) -> None:
            on_progress(Progress(len(self.units) - first, steps, f"waiting for a worker, {position} in the queue"))

        if self.stalled_us is not None:
            self._time_out()
            if stop_on == StopOn.RESTART:
                return
        while (left := steps - len(self.units) + first) > 0 and not self.is_spent:
            plan, count = StepPlan(self.settings, self._text), min(left, self._steps_alike())
            async with aclosing(self.source.units(self.ref, plan, count, waiting)) as units:
                for _ in range(count):
                    self._interruption.require_none()
                    restarts = self.cluster.incarnation
                    self._add(await self._interruption.wait_for(anext(units)), plan.settings)
                    on_progress(Progress(len(self.units) - first, steps, self._progress()))
                    if self._is_stopped(stop_on, restarts):
                        return
                    if self.is_spent or restarts != self.cluster.incarnation:
                        break

    def _steps_alike(self) -> int:
        """Return how many steps have the same settings: up to the next checkpoint, or one that is adjusted."""
        every = self.training.checkpoint_every
        return 1 if self._adjustment is not None else every - self.step % every

    def _is_stopped(self, stop_on: StopOn, restarts: int) -> bool:
        if self.stalled_us is not None:
            return True
        if restarts != self.cluster.incarnation:
            return stop_on == StopOn.RESTART
        last = self.rows[-1]
        if stop_on == StopOn.NONFINITE:
            return bool(last.figures["skipped"]) or not math.isfinite(last.number("gradient_norm"))
        if stop_on == StopOn.SPIKE and len(self.rows) > _SPIKE_STEPS:
            before = statistics.fmean(row.number("loss") for row in self.rows[-1 - _SPIKE_STEPS : -1])
            return not last.number("loss") <= before + _SPIKE_LOSS
        return False

    def _add(self, unit: Unit, settings: StepSettings) -> None:
        """Add a step, or what was left of it. A death restarts the job."""
        self.units.append(unit.without_state())
        figures = unit.figures
        state_us = int(figures["clock_us"] or 0)
        if (stopped := figures["stopped"]) is not None:
            moment_us = state_us + self._offset_us
            rank = int(stopped)
            self._offset_us = moment_us - self._state_us
            if figures["hung"]:
                self.stalled_us = moment_us
                self._offset_us += STALL_US
                return
            self._happened(f"rank {rank} (node {self.cluster.nodes[rank]}) exited with signal 9 (SIGKILL)", rank)
            self._launch_again()
            return
        begun_us = self._state_us
        step, self.ref, self._state_us = self.step, unit.ref, state_us
        self._adjustment = None
        self.rows.append(StepRow(self.seed, step, settings, begun_us, self.now_us, figures))
        if self.step % self.training.checkpoint_every == 0:
            self._save()

    def _time_out(self) -> None:
        """Let the launcher restart a job that hangs."""
        assert self.stalled_us is not None
        self._offset_us += max(0, self.stalled_us + HANG_TIMEOUT_US - self.now_us)
        self._happened(f"watchdog: the reduction of step {self.step} timed out after {HANG_TIMEOUT_US // 1_000_000} s")
        self._launch_again()

    def _launch_again(self) -> None:
        """Restart the job as a launcher does, with the command it was started with.

        So what was to be changed before the next step still is. Once a step has been taken, it belongs to the state,
        and is lost with it.
        """
        pending = self._adjustment or Adjustment(self.step)
        self.restart(self.newest, Restart(schedule=pending.schedule, fresh_optimizer=pending.fresh_optimizer))

    def _save(self) -> None:
        self._offset_us += SAVE_US
        restarts = self.cluster.incarnation
        name = f"step-{self.step}" + (f"-r{restarts}" if restarts else "")
        saved = SavedCheckpoint(
            name, self.ref, self._state_us, self.now_us, self.rows[-1].number("loss"), self.cluster.data_shift
        )
        first, *rest = [kept for kept in self.checkpoints if kept.id != name]
        self.checkpoints, self.newest = [first, *rest[-(MAX_CHECKPOINTS - 1) :], saved], saved
        self.cluster = replace(self.cluster, saved_at_step=self.step)
        self._happened(f"saved checkpoint {name} in {SAVE_US / 1e6:.2f} s")

    def _progress(self) -> str:
        loss = self.rows[-1].number("loss") if self.rows else math.nan
        return f"step {self.step}: loss {loss:.4f}"

    # Actions.

    def pay(self, microseconds: int) -> None:
        """Let time pass."""
        self._offset_us += microseconds

    def require_time(self, microseconds: int) -> None:
        """Check that the reservation has time for an action.

        Raises:
            EpisodeError: It has not.
        """
        left_us = RESERVATION_US - self.now_us
        if microseconds > left_us:
            raise EpisodeError(
                f"that takes {microseconds / 1e6:g} s, and {max(0, left_us) / 1e6:.1f} s of the reservation are left"
            )

    def find(self, checkpoint: object) -> SavedCheckpoint:
        """Return a checkpoint by its id, or the newest one by "newest".

        Raises:
            EpisodeError: There is none.
        """
        if checkpoint == "newest":
            return self.newest
        for kept in self.checkpoints:
            if kept.id == checkpoint:
                return kept
        names = ", ".join(kept.id for kept in self.checkpoints)
        raise EpisodeError(f"there is no checkpoint {shown(checkpoint)}; there are newest, {names}")

    def restart(self, checkpoint: SavedCheckpoint, how: Restart) -> None:
        """Restart the job from a checkpoint. Ranks are renumbered."""
        now_us, repeated = self.now_us + RESTART_US, self.scenario.repeats_positions
        self.cluster = restarted(self.cluster, checkpoint, how, seed=self.seed, begun_us=now_us, repeated=repeated)
        self.newest, self._is_recording = checkpoint, self.training.record_activations
        self.ref, self._state_us = checkpoint.ref, checkpoint.state_us
        self._offset_us = now_us - checkpoint.state_us
        self.stalled_us = None
        loss_scale = None if self._adjustment is None else self._adjustment.loss_scale
        self._adjustment = None
        if checkpoint.saved_us is not None:
            self._adjust(restored_us=checkpoint.saved_us)
        if loss_scale is not None:  # it was set, and no step has been taken since
            self._adjust(loss_scale=loss_scale)
        if how.schedule is not None:
            self._adjust(schedule=how.schedule)
        if how.fresh_optimizer:
            self._adjust(fresh_optimizer=True)
        position = self.cluster.data_position(self.step)
        self._happened(f"job restarted from checkpoint {checkpoint.id}; the sampler begins at position {position}")

    def set_training(self, changes: dict[str, Any], schedule: int | None, loss_scale: float | None) -> None:
        """Change settings of the next step."""
        self.training = replace(self.training, **changes)
        if schedule is not None:
            self._adjust(schedule=schedule)
        if loss_scale is not None:
            self._adjust(loss_scale=loss_scale)

    def act(self, action: ClusterAction, target: int) -> None:
        """Do something to a node or a shard.

        Raises:
            EpisodeError: Too little time is left, or it cannot be done.
        """
        self.require_time(action.cost_us)
        machines, text = action.apply(Machines(self.cluster, self.spares, self.drained), target)
        self.cluster, self.spares, self.drained = machines.cluster, machines.spares, machines.drained
        self.pay(action.cost_us)
        self._happened(text)

    def broadcast(self, rank: int) -> None:
        """Copy the replica of a rank to all ranks.

        Raises:
            EpisodeError: Too little time is left, or there is no such rank.
        """
        self.require_time(BROADCAST_US)
        if not 0 <= rank < len(self.cluster.nodes):
            raise EpisodeError(f"there is no rank {rank}; ranks are 0 to {len(self.cluster.nodes) - 1}")
        self._adjust(copied_node=self.cluster.nodes[rank])
        self.pay(BROADCAST_US)
        self._happened(f"the replica of rank {rank} was copied to all ranks")

    async def measure(self, ref: StateRef, plan: Measurement) -> Figures:
        """Measure a state.

        Raises:
            TrainingStoppedError: It could not be measured.
        """
        try:
            async with asyncio.timeout(self._call_s):
                return await self.source.measure(ref, plan)
        except (ExecutorError, TimeoutError) as error:
            reason = str(error) or f"it took longer than {self._call_s:g} s"
            raise TrainingStoppedError(f"the state could not be measured: {reason}; call again") from error

    def interrupt(self, reason: str) -> None:
        """Stop training at the next step."""
        self._interruption.interrupt(reason)

    def forget_interruption(self) -> None:
        """Note that the interrupted call has ended."""
        self._interruption.forget()

    def _adjust(self, **changes: Any) -> None:
        self._adjustment = replace(self._adjustment or Adjustment(self.step), **changes)

    def _happened(self, text: str, rank: int | None = None) -> None:
        self.events.append(Event(self.now_us, text, rank))
