"""An open episode. Its calls take turns. Each call is recorded in the journal before it is answered."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ml_trainer_env.server.episodes.changes import Changes, RunningCall
from ml_trainer_env.server.episodes.errors import EpisodeError, TrainingStoppedError
from ml_trainer_env.server.episodes.game import Episode
from ml_trainer_env.server.episodes.progress import OnProgress, Progress, ignore_progress
from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.episodes.tools import Arguments, Reply, Toolbox
from ml_trainer_env.server.operations.logs import logged_episode
from ml_trainer_env.server.operations.metrics import Outcome, Telemetry
from ml_trainer_env.server.store import (
    CallRecord,
    EpisodeHeader,
    EpisodeTakenError,
    Journal,
    Ownership,
    RecordedUnit,
    StoreError,
    UnitFigures,
)
from ml_trainer_env.server.trainer.errors import ConfigError

__all__ = ["OpenEpisode"]

_LOG = logging.getLogger(__name__)

MAX_IDLE_CALLS = 1000
"""Limit for the recorded calls without effect of an episode. A client that polls must not fill the disk."""


class OpenEpisode:
    """An episode that one client plays. Calls that change something take turns.

    A cancelled call stops at the next batch. It is recorded with the units of work that it completed. All methods
    except `close` must be called on one event loop.

    Args:
        episode: The episode.
        tools: The tools of its game.
        header: The episode's header in the journal.
        calls: The recorded calls.
        journal: Records calls.
        ownership: The right to record them.
        telemetry: Measures calls.
        resumed: Whether another session began the episode.

    Attributes:
        call_count: Number of recorded calls, inherited ones included.
        changes: Counts units of work, calls, and the end of the session, for watchers.
    """

    def __init__(
        self,
        episode: Episode,
        tools: Toolbox[Any],
        header: EpisodeHeader,
        calls: tuple[CallRecord, ...],
        journal: Journal,
        ownership: Ownership,
        telemetry: Telemetry,
        resumed: bool,
    ) -> None:
        self.episode = episode
        self.tools = tools
        self.header = header
        self.resumed = resumed
        self.last_call = calls[-1] if calls else None
        self.step_count = sum(not call.inherited for call in calls)
        self.call_count = len(calls)
        self.changes = Changes()
        self._journal = journal
        self._ownership = ownership
        self._telemetry = telemetry
        self._idle_calls = sum(self._is_idle(call) for call in calls)
        self._closed_reason: str | None = None
        self._turn = asyncio.Lock()
        self._running: asyncio.Task[Reply] | None = None
        self._works: set[asyncio.Task[Reply]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def is_closed(self) -> bool:
        """Whether the session accepts no more calls of the episode."""
        return self._closed_reason is not None

    async def call(
        self, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress, reason: str | None = None
    ) -> Reply:
        """Carry out a call and record it.

        Args:
            tool: The tool's name.
            arguments: Its arguments, as `Tool.read` returns them.
            on_progress: Called while the call runs.
            reason: Why the agent makes the call. It changes nothing.

        Raises:
            EpisodeError: The call was refused or failed, or this session has lost the episode.
            ConfigError: An argument is out of bounds.
        """
        self.step_count += 1
        work = asyncio.ensure_future(self._run_in_turn(tool, arguments, on_progress, reason))
        self._works.add(work)
        work.add_done_callback(self._forget)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The work continues until its completed units are recorded.
            if self._running is work:
                self.interrupt("the call was cancelled")
            else:
                work.cancel()
            raise

    async def refuse(self, tool: str, arguments: Arguments, message: str, reason: str | None = None) -> None:
        """Record a call that was refused before it reached the episode.

        Raises:
            EpisodeError: This session has lost the episode.
        """
        self.step_count += 1
        record = CallRecord(tool, arguments, error=message, reached=False, reason=reason)
        if not self.episode.counts_every_call:
            await self._record_refused(record)
            return
        async with self._turn:  # calls are numbered in the order in which they are recorded
            await self._record_refused(record)

    def interrupt(self, reason: str) -> None:
        """Stop the work of the running call."""
        if self._running is not None:
            self.episode.interrupt(reason)

    async def retire(self, reason: str) -> None:
        """Close the episode and wait until no call runs and everything is recorded."""
        self._closed_reason = reason
        self.episode.interrupt(reason)  # between calls, too: other work may go on for it
        async with self._turn:
            pass
        self._journal.release(self._ownership)
        self.changes.mark()

    def close(self) -> None:
        """Close the episode without waiting. May be called from any thread."""
        self._closed_reason = self._closed_reason or "its session has ended"
        self._journal.release(self._ownership)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, "the session has ended")

    def _end(self, reason: str) -> None:
        self.episode.interrupt(reason)
        self.changes.mark()

    async def _run_in_turn(self, tool: str, arguments: Arguments, on_progress: OnProgress, reason: str | None) -> Reply:
        if self.tools.effect(tool).reads_only and not self.episode.counts_every_call:
            return await self._run_measured(tool, arguments, on_progress, reason)
        async with self._turn:
            self._running = asyncio.current_task()
            changes = self.changes
            changes.begin(RunningCall(tool, arguments, time.time(), reason))

            # Without `self`: an idle worker may keep it until its next job.
            def watched_progress(progress: Progress) -> None:
                changes.progress(progress)
                on_progress(progress)

            try:
                return await self._run_measured(tool, arguments, watched_progress, reason)
            finally:
                self._running = None
                self.episode.forget_interruption()
                changes.end()

    async def _run_measured(
        self, tool: str, arguments: Arguments, on_progress: OnProgress, reason: str | None
    ) -> Reply:
        began, outcome = time.perf_counter(), Outcome.FAILED
        try:
            with logged_episode(self.header.name):
                reply = await self._run_recorded(tool, arguments, on_progress, reason)
            outcome = Outcome.OK
            return reply
        except TrainingStoppedError:
            outcome = Outcome.STOPPED
            raise
        except (EpisodeError, ConfigError):
            outcome = Outcome.REFUSED
            raise
        finally:
            self._telemetry.call(tool, outcome, time.perf_counter() - began)

    async def _run_recorded(
        self, tool: str, arguments: Arguments, on_progress: OnProgress, reason: str | None
    ) -> Reply:
        """Carry out a call and record it. A call counts when it is recorded."""
        self._require_not_closed()
        episode = self.episode
        first, counts, was_done = len(episode.units), episode.counts_every_call, episode.done
        refusal: EpisodeError | ConfigError | None = None
        reply: Reply | None = None
        reserves = self.tools.effect(tool).spends is not None and not first
        if reserves:
            await self._reserve()
        try:
            reply = await episode.call(tool, arguments, on_progress)
        except (EpisodeError, ConfigError) as error:
            refusal = error
        except StoreError as error:
            raise self._lost(error) from error
        except Exception as error:  # a bug: the units that it completed are spent
            failed = self._make_record(tool, arguments, None, f"the call failed: {error}", first)
            await self._record_call(replace(failed, reason=reason), counts, reserves)
            self._closed_reason = f"a call failed: {error}"
            raise
        except BaseException as error:  # the episode in memory may differ from the journal
            self._closed_reason = f"a call was given up: {error}"
            raise
        message = None if refusal is None else str(refusal)
        record = replace(self._make_record(tool, arguments, reply, message, first), reason=reason)
        if episode.done and not was_done:
            record = replace(record, withheld=episode.withheld)
        await self._record_call(record, counts, reserves)
        if refusal is not None:
            raise refusal
        assert reply is not None
        return reply

    def _make_record(
        self, tool: str, arguments: Arguments, reply: Reply | None, error: str | None, first: int
    ) -> CallRecord:
        """Create the record of a call, with the episode's units of work from index `first` on."""
        units = () if self.tools.effect(tool).reads_only else self.episode.units[first:]
        recorded = tuple(map(_recorded_unit, units))
        return CallRecord(
            tool, arguments, reply=reply, error=error, units=recorded, weights_hash=self.episode.state_hash
        )

    async def _record_refused(self, record: CallRecord) -> None:
        self._require_not_closed()
        self.episode.count_refused_call()
        await self._record_call(record)

    async def _reserve(self) -> None:
        """Reserve the episode's name before its first unit of work. Until then a reset may take the name."""
        try:
            await self._journal.reserve(self._ownership)
        except (EpisodeTakenError, StoreError) as error:
            raise self._lost(error) from error

    async def _record_call(self, record: CallRecord, counts: bool = False, frees_name: bool = False) -> None:
        """Record a call. A call without effect is not recorded after `MAX_IDLE_CALLS` such calls."""
        if self._is_idle(record) and not counts:
            self._idle_calls += 1
            if self._idle_calls > MAX_IDLE_CALLS and not frees_name:
                return
        try:
            await self._journal.append(self._ownership, record, self.episode.needed_keys, frees_name)
        except (EpisodeTakenError, StoreError) as error:
            raise self._lost(error) from error
        self.call_count += 1
        self.changes.mark()

    def _lost(self, error: Exception) -> EpisodeError:
        """Close the episode, and return the error of a call that could not be recorded."""
        _LOG.error("episode %s cannot be written down: %s", self.header.name, error)
        self._closed_reason = str(error)
        return EpisodeError(f"{error}; this call does not count. {self._resume_hint()}")

    def _require_not_closed(self) -> None:
        if self._closed_reason is not None:
            raise EpisodeError(
                f"this session does not play the episode any more: {self._closed_reason}. {self._resume_hint()}"
            )

    def _resume_hint(self) -> str:
        return f"Go on with it by reset (start_task over MCP) with episode_id={self.header.name!r} and resume=true"

    def _is_idle(self, call: CallRecord) -> bool:
        """Whether a call had no effect, except on the count of calls."""
        return (call.reply is None or self.tools.effect(call.tool).reads_only) and not call.units

    def _forget(self, work: "asyncio.Task[Reply]") -> None:
        self._works.discard(work)
        if not work.cancelled():
            work.exception()  # a cancelled caller does not retrieve it


def _recorded_unit(unit: Unit) -> RecordedUnit:
    figures = UnitFigures(unit.ref.key, unit.figures, unit.ref.digest or "", unit.seconds)
    return RecordedUnit(figures, unit.from_cache, unit.ref.identity)


def describe_call(call: CallRecord) -> Mapping[str, Any]:
    """Return a call as the `last_call` of a reset's observation."""
    return {"tool_name": call.tool, "arguments": dict(call.arguments), "reply": call.reply, "error": call.error}
