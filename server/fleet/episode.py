"""The fleet episode: the calls of the tools, rewards, and the end.

The run trains the model; see `run`. The state of an episode depends only on its calls and their steps. Nothing that a
call returns tells what goes wrong, until the episode is over.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ml_trainer_env.fleet_models import FleetObservation, FleetTaskDescription
from ml_trainer_env.server.episodes.arguments import read_number
from ml_trainer_env.server.episodes.call_counts import CallCounts, CallLimits
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import Start, TimeLimits
from ml_trainer_env.server.episodes.progress import OnProgress, ignore_progress
from ml_trainer_env.server.episodes.reward import EpisodeReward
from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.episodes.tools import Arguments, Reply
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.fleet import inspections
from ml_trainer_env.server.fleet.actions import NODE_ACTIONS, SHARD_ACTIONS, ClusterAction
from ml_trainer_env.server.fleet.logs import MAX_LINES
from ml_trainer_env.server.fleet.monitor import Monitor
from ml_trainer_env.server.fleet.plans import fleet_text, held_out
from ml_trainer_env.server.fleet.references import BackgroundReferences, ReferenceRuns
from ml_trainer_env.server.fleet.restarts import Restart
from ml_trainer_env.server.fleet.rows import By, Metric, Reduction, query, shown, spread
from ml_trainer_env.server.fleet.run import FleetRun, StopOn
from ml_trainer_env.server.fleet.scoring import References, Transition, fleet_reward, potential, score
from ml_trainer_env.server.fleet.tasks import FleetTask
from ml_trainer_env.server.fleet.timing import INSPECT_US, RESTART_US
from ml_trainer_env.server.fleet.tools import LIMITS, TOOLS
from ml_trainer_env.server.fleet.truth import report_is_right, told_faults
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS
from ml_trainer_env.server.trainer.limits import check_choice, check_flag

__all__ = ["RUBRIC", "RULES_VERSION", "FleetEpisode"]

RUBRIC = "recovery"
RULES_VERSION = 1

MAX_CALLS = 500
"""Limit for the calls of an episode, refused ones among them. The last one submits."""

_REPORTED_STEPS = 12
"""A reply of `run_steps` has the loss of so many steps at the most."""

_SHOWN_EVENTS = 6


class FleetEpisode:
    """One attempt at a fleet task.

    Args:
        name: The episode's name.
        task: The task.
        seed: Seed of weights, data, noise, and of what goes wrong; see `FleetTask`.
        source: The source of steps.
        limits: Time limits of calls.

    Attributes:
        run: The run.
        monitor: What is seen of it.

    Raises (every method that a tool calls):
        EpisodeError: The call was refused and changed nothing. Or training failed; its steps count.
        ConfigError: An argument is out of bounds. Nothing has changed.
    """

    def __init__(self, *, name: str, task: FleetTask, seed: int, source: UnitSource, limits: TimeLimits) -> None:
        self.name = name
        self.task = task
        self.seed = seed
        self._setup = task.setup(seed)
        run_seed, scenario, spares = task.run_seed(seed), self._setup.scenario, self._setup.spares
        self.run = FleetRun(run_seed, scenario, spares, source, limits.call_s)
        self.monitor = Monitor(self.run, self._setup.telemetry_delay_us)
        self._references = BackgroundReferences(ReferenceRuns(run_seed, scenario, spares, limits.call_s), source)
        self._reward = fleet_reward()
        self._counts = CallCounts(CallLimits(calls=MAX_CALLS))
        self._paid = 0.0
        self._reports: list[tuple[str, str]] = []
        self._end: Reply | None = None
        self._is_score_paid = False

    # The contract of episodes.

    @property
    def start(self) -> Start:
        """The start of the episode."""
        return Start(self.task.id, self.seed, RUBRIC, fleet_text().key, RULES_VERSION)

    @property
    def source(self) -> UnitSource:
        """The source of steps."""
        return self.run.source

    @source.setter
    def source(self, source: UnitSource) -> None:
        self.run.source = source

    @property
    def units(self) -> Sequence[Unit]:
        """The units of work of its calls, in order."""
        return self.run.units

    @property
    def needed_keys(self) -> list[str]:
        """The keys of the states that the episode may continue from or submit."""
        return self.run.needed_keys

    @property
    def state_hash(self) -> str | None:
        """SHA-256 (hex) of the current state. None before the first step."""
        return self.run.ref.digest

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self._end is not None

    @property
    def score(self) -> float | None:
        """The score. None before the end."""
        return None if self._end is None else self._end["score"]

    @property
    def withheld(self) -> Mapping[str, Any] | None:
        """Nothing: the last reply tells everything."""
        return None

    @property
    def reward(self) -> EpisodeReward:
        """The rubric that computes rewards."""
        return self._reward

    @property
    def counts_every_call(self) -> bool:
        """Whether the next call of any kind ends the episode."""
        return not self.done and self._counts.next_is_last

    def count_refused_call(self) -> None:
        """Count a call that was refused before it reached this episode."""
        self._counts.count_refused()

    def interrupt(self, reason: str) -> None:
        """Stop the work of the running call, and the training of the references."""
        self.run.interrupt(reason)
        self._references.cancel()

    def forget_interruption(self) -> None:
        """Note that the interrupted call has ended."""
        self.run.forget_interruption()

    async def call(self, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress) -> Reply:
        """Carry out a call of one of the tools of `tools.TOOLS`."""
        if not self.done:
            self._references.begin(self.source)
        return await TOOLS.find(tool).carry_out(self, arguments, on_progress)

    def describe(self) -> FleetObservation:
        """Return the observation of a reset."""
        task = self.task
        return FleetObservation(
            reward=0.0,
            done=self.done,
            episode_id=self.name,
            seed=self.seed,
            rubric=RUBRIC,
            rules=RULES_VERSION,
            task=FleetTaskDescription(
                id=task.id,
                name=task.name,
                split=task.split,
                index=task.index,
                description=task.description,
                difficulty=task.difficulty,
                group=task.group,
                tools=list(TOOLS.names),
            ),
            status=self.monitor.status(),
        )

    def snapshot(self) -> dict[str, Any]:
        """Return the fields of `FleetState` that are not part of the start."""
        return {"status": self.monitor.status(), "state_hash": self.state_hash}

    # The calls of the tools.

    async def run_steps(self, num_steps: object, stop_on: object, on_progress: OnProgress) -> Reply:
        """Take steps.

        Args:
            num_steps: Number of steps, 1 to 50. A step in which a rank stopped counts.
            stop_on: What ends the call early; see `StopOn`. None for nothing.
            on_progress: Called after each step.
        """

        async def act() -> Reply:
            steps = int(LIMITS["num_steps"].check("num_steps", num_steps))
            stop = StopOn(check_choice("stop_on", StopOn.NOTHING if stop_on is None else stop_on, tuple(StopOn)))
            first_row, first_event = len(self.run.rows), len(self.run.events)
            await self.run.train(steps, stop, on_progress)
            rows = self.monitor.seen(self.run.rows[first_row:])
            return {
                "message": self.monitor.progress(),
                "losses": [[row.step, shown(row.number("loss"))] for row in spread(rows, _REPORTED_STEPS)],
                "events": [event.text for event in self.run.events[first_event:]][-_SHOWN_EVENTS:],
            }

        return await self._change(act)

    async def restart(
        self,
        checkpoint: object,
        skip_from: object,
        skip_to: object,
        schedule_position: object,
        data_position: object,
        fresh_optimizer: object,
    ) -> Reply:
        """Restart the job from a checkpoint.

        Args:
            checkpoint: Its id, or "newest".
            skip_from: First position in the data that is left out from now on. None for none.
            skip_to: The position after the last one.
            schedule_position: Position in the learning-rate schedule. None for that of the checkpoint.
            data_position: Position in the data. None for that of the checkpoint.
            fresh_optimizer: Whether the optimizer begins anew. None for no.
        """

        async def act() -> Reply:
            kept = self.run.find(checkpoint)
            how = Restart(
                skip=_skip(skip_from, skip_to),
                schedule=_optional("schedule_position", schedule_position),
                data_position=_optional("data_position", data_position),
                fresh_optimizer=fresh_optimizer is not None and check_flag("fresh_optimizer", fresh_optimizer),
            )
            self.run.require_time(RESTART_US)
            self.run.restart(kept, how)
            return {"message": f"Restarted from {kept.id}."}

        return await self._change(act)

    async def set_training(self, changes: Mapping[str, object]) -> Reply:
        """Change settings of the next step; see `tools.TOOLS`."""

        async def act() -> Reply:
            if not changes:
                raise EpisodeError("name at least one setting to change")
            checked = {
                name: LIMITS[name].check(name, value) if name in LIMITS else check_flag(name, value)
                for name, value in changes.items()
            }
            schedule, scale = checked.pop("schedule_position", None), checked.pop("loss_scale", None)
            if "checkpoint_every" in checked:
                checked["checkpoint_every"] = int(checked["checkpoint_every"])
            self.run.set_training(checked, None if schedule is None else int(schedule), scale)
            return {"message": f"Set {', '.join(changes)}."}

        return await self._change(act)

    async def set_node(self, node: object, action: object) -> Reply:
        """Replace, drain or restore a node."""
        return await self._act_on("node", node, action, NODE_ACTIONS)

    async def set_shard(self, shard: object, action: object) -> Reply:
        """Quarantine, mirror or restore a shard."""
        return await self._act_on("shard", shard, action, SHARD_ACTIONS)

    async def broadcast(self, from_rank: object) -> Reply:
        """Copy the replica of a rank to all ranks."""

        async def act() -> Reply:
            rank = int(LIMITS["rank"].check("from_rank", from_rank))
            self.run.broadcast(rank)
            return {"message": f"All replicas are that of rank {rank}."}

        return await self._change(act)

    async def inspect(self, kind: object, target: object) -> Reply:
        """Inspect a node, a shard, a checkpoint, or all replicas. It takes time."""

        async def act() -> Reply:
            chosen = check_choice("kind", kind, tuple(INSPECT_US))
            self.run.require_time(INSPECT_US[chosen])
            if chosen == "checkpoint":
                kept = self.run.find(target)
                found = {"checkpoint": kept.id, **await inspections.checkpoint_contents(self.run, kept)}
            elif chosen == "replicas":
                found = await inspections.replica_checksums(self.run)
            else:
                number = int(LIMITS[chosen].check("id", read_number(target)))
                look = inspections.node_self_test if chosen == "node" else inspections.shard_statistics
                found = {chosen: number, **look(self.run, number)}
            self.run.pay(INSPECT_US[chosen])
            return {"message": f"Inspected {chosen}.", **found}

        return await self._change(act)

    async def report_incident(self, kind: object, target: object) -> Reply:
        """Note what the agent thinks is wrong. It is told right or wrong at the end, and never paid."""

        async def act() -> Reply:
            if not isinstance(kind, str) or not isinstance(target, str | int | None):
                raise EpisodeError("kind and target must be text")
            self._reports.append((kind[:80], str("" if target is None else target)[:80]))
            return {"message": "Noted. The end of the episode tells whether it is right."}

        return await self._change(act)

    async def query_metrics(self, metric: object, by: object, last: object, reduce: object) -> Reply:
        """Return a metric of the last steps that monitoring shows."""

        def look() -> Reply:
            group = By(check_choice("by", By.TOTAL if by is None else by, tuple(By)))
            default = Reduction.SERIES if group is By.TOTAL else Reduction.MEAN
            reduction = Reduction(check_choice("reduce", default if reduce is None else reduce, tuple(Reduction)))
            if reduction is Reduction.SERIES and group is not By.TOTAL:
                raise EpisodeError("a series is for by=total; choose reduce=mean, max or last for groups")
            count = 50 if last is None else int(LIMITS["last"].check("last", last))
            chosen = Metric(check_choice("metric", metric, tuple(Metric)))
            rows = self.monitor.seen(self.run.rows)[-count:]
            return {"message": f"{chosen} by {group}.", **query(rows, chosen, group, reduction)}

        return await self._read(look)

    async def read_log(self, rank: object, tail: object) -> Reply:
        """Return the last lines of a rank's log."""

        def look() -> Reply:
            number = int(LIMITS["rank"].check("rank", rank))
            count = MAX_LINES // 2 if tail is None else int(LIMITS["tail"].check("tail", tail))
            return {"message": f"Log of rank {number}.", "lines": self.monitor.log(number, count)}

        return await self._read(look)

    async def list_checkpoints(self) -> Reply:
        """List the checkpoints, oldest first."""
        return await self._read(
            lambda: {"message": "Checkpoints, oldest first.", "checkpoints": self.monitor.checkpoints()}
        )

    async def status(self) -> Reply:
        """Return where the run stands."""
        return await self._read(lambda: {"message": self.monitor.progress()})

    async def submit(self) -> Reply:
        """Submit the model as it is. Ends the episode."""

        async def act() -> Reply:
            await self._finish()
            return {"message": "Submitted."}

        return await self._change(act)

    # The rules.

    async def _act_on(self, name: str, number: object, action: object, actions: Mapping[str, ClusterAction]) -> Reply:
        async def act() -> Reply:
            chosen = check_choice("action", action, tuple(actions))
            index = int(LIMITS[name].check(name, number))
            self.run.act(actions[chosen], index)
            return {"message": f"Done: {chosen} {name} {index}."}

        return await self._change(act)

    async def _change(self, act: Callable[[], Awaitable[Reply]]) -> Reply:
        """Carry out a call that changes something. The end of the reservation ends the episode."""
        if self.done:
            raise EpisodeError("the episode is over; call reset (start_task over MCP) to begin another")
        if (end := self._counts.count(budget_is_spent=False)) is not None:
            await self._finish()
            return self._reply({"message": end})
        if self.run.is_spent:  # the end could not be measured
            await self._finish()
            return self._reply({"message": "The reservation is spent."})
        found = await act()
        return self._reply(await self._ended(found))

    async def _ended(self, found: Reply) -> Reply:
        """End the episode if the reservation is spent, and return what is told of a call."""
        if self.done or not self.run.is_spent:
            return found
        await self._finish()
        return found | {"message": f"{found['message']} The reservation is spent: the model was submitted by itself."}

    async def _read(self, look: Callable[[], Reply]) -> Reply:
        """Carry out a call that only reads. It is paid nothing: it does not take turns with a call that trains."""
        if not self.done and (end := self._counts.count(budget_is_spent=False)) is not None:
            await self._finish()
            return self._reply({"message": end})
        return self._answer(look(), 0.0, dict.fromkeys(self._reward.parts(), 0.0))

    async def _finish(self) -> None:
        """Measure the model, compute the score, and tell what had happened."""
        run = self.run
        loss = CHANCE_LOSS
        if run.ref.initial is None:
            loss = float((await run.measure(run.ref, held_out(run.settings, fleet_text())))["held_out_loss"] or 0.0)
        figures = await self._references.figures(self.source)
        references = References(float(figures["nothing_loss"] or 0.0), float(figures["clean_loss"] or 0.0))
        self._end = {
            "score": score(loss, references),
            "held_out_loss": loss,
            **figures,
            "incidents": [incident.value for incident in self._setup.incidents],
            "faults": told_faults(self._setup.scenario),
            "reports": [
                {"kind": kind, "target": target, "right": report_is_right(self._setup, kind, target)}
                for kind, target in self._reports
            ],
        }

    # Replies.

    def _reply(self, found: Reply) -> Reply:
        """Pay for a call, and answer it."""
        after = 0.0 if self.done else potential(self.monitor.recent_loss())
        paid = self._end["score"] if self._end is not None and not self._is_score_paid else None
        reward = self._reward(None, Transition(self._paid, after, paid))
        self._paid = after
        self._is_score_paid = self.done
        return self._answer(found, reward, self._reward.parts())

    def _answer(self, found: Reply, reward: float, parts: Mapping[str, float]) -> Reply:
        paid = {"reward": reward, "done": self.done, "reward_parts": parts}
        return {**self.monitor.status().model_dump(), **paid, **found, **(self._end or {})}


def _skip(first: object, after: object) -> tuple[int, int] | None:
    """Return a range of positions that is left out.

    Raises:
        EpisodeError: Only one of the two is given, or the range is empty.
    """
    if first is None and after is None:
        return None
    begin, end = (_optional(name, value) for name, value in (("skip_from", first), ("skip_to", after)))
    if begin is None or end is None or begin >= end:
        raise EpisodeError("skip_from and skip_to belong together, and skip_to is the greater one")
    return begin, end


def _optional(name: str, value: object) -> int | None:
    return None if value is None else int(LIMITS[name].check(name, value))
