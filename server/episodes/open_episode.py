"""An episode that is being played: its rules, and the journal that every call goes into before it is answered."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from ml_trainer_env.server.episodes.calls import LOOKS, Arguments, perform
from ml_trainer_env.server.episodes.errors import EpisodeError, TrainingStoppedError
from ml_trainer_env.server.episodes.states import Unit
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
from ml_trainer_env.server.tuning.episode import Episode, OnProgress, ignore_progress
from ml_trainer_env.server.tuning.observation import Reply

__all__ = ["OpenEpisode"]

_LOG = logging.getLogger(__name__)

MAX_IDLE_CALLS = 1000
"""Calls without any effect that are written down for an episode; a client that polls must not fill the disk."""


class OpenEpisode:
    """Plays an episode for one client. Calls that change something take turns.

    A call that is cancelled stops training at the next batch and is written down with the epochs it
    completed. All methods but `close` must be called on one event loop.

    Args:
        episode: The rules.
        header: What it began with.
        calls: What has been written down of it already.
        journal: Where calls are written down.
        ownership: The right to do so.
        telemetry: Measures calls.
        resumed: Whether it was begun in another session.
    """

    def __init__(
        self,
        episode: Episode,
        header: EpisodeHeader,
        calls: tuple[CallRecord, ...],
        journal: Journal,
        ownership: Ownership,
        telemetry: Telemetry,
        resumed: bool,
    ) -> None:
        self.episode = episode
        self.header = header
        self.resumed = resumed
        self.last_call = calls[-1] if calls else None
        self.step_count = sum(not call.inherited for call in calls)
        self._journal = journal
        self._ownership = ownership
        self._telemetry = telemetry
        self._idle_calls = sum(_is_idle(call) for call in calls)
        self._gone: str | None = None
        self._turn = asyncio.Lock()
        self._running: asyncio.Task[Reply] | None = None
        self._works: set[asyncio.Task[Reply]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def is_gone(self) -> bool:
        """Whether no more calls are taken here."""
        return self._gone is not None

    async def call(self, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress) -> Reply:
        """Carry out a call and write it down.

        Args:
            tool: Which tool.
            arguments: What it was given.
            on_progress: Told how far training has come.

        Raises:
            EpisodeError: It was refused, or failed; or this session has lost the episode.
            ConfigError: An argument is out of bounds.
        """
        self.step_count += 1
        work = asyncio.ensure_future(self._in_turn(tool, arguments, on_progress))
        self._works.add(work)
        work.add_done_callback(self._forget)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The work goes on: what it has trained must be written down.
            if self._running is work:
                self.interrupt("the call was cancelled")
            else:
                work.cancel()
            raise

    async def refuse(self, tool: str, arguments: Arguments, message: str) -> None:
        """Write down a call that was refused before it got as far as the episode.

        Raises:
            EpisodeError: This session has lost the episode.
        """
        self.step_count += 1
        record = CallRecord(tool, arguments, error=message, reached=False)
        if not self.episode.counts_every_call:
            await self._write_refused(record)
            return
        async with self._turn:  # the calls are numbered in the order in which they are written down
            await self._write_refused(record)

    def interrupt(self, reason: str) -> None:
        """Stop the call under way, if it trains: at its next batch, or as soon as it begins to train."""
        if self._running is not None:
            self.episode.interrupt(reason)

    async def retire(self, reason: str) -> None:
        """Stop for good: on return no call is under way and all that was trained is written down."""
        self._gone = reason
        self.interrupt(reason)
        async with self._turn:
            pass
        self._journal.release(self._ownership)

    def close(self) -> None:
        """Stop for good, without waiting. From any thread."""
        self._gone = self._gone or "its session has ended"
        self._journal.release(self._ownership)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.interrupt, "the session has ended")

    async def _in_turn(self, tool: str, arguments: Arguments, on_progress: OnProgress) -> Reply:
        if tool in LOOKS and not self.episode.counts_every_call:
            return await self._carried_out(tool, arguments, on_progress)
        async with self._turn:
            self._running = asyncio.current_task()
            try:
                return await self._carried_out(tool, arguments, on_progress)
            finally:
                self._running = None
                self.episode.forget_interruption()

    async def _carried_out(self, tool: str, arguments: Arguments, on_progress: OnProgress) -> Reply:
        began, outcome = time.perf_counter(), Outcome.FAILED
        try:
            with logged_episode(self.header.name):
                reply = await self._written(tool, arguments, on_progress)
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

    async def _written(self, tool: str, arguments: Arguments, on_progress: OnProgress) -> Reply:
        """Perform a call and write it down; only then it counts."""
        self._require_here()
        episode = self.episode
        first, counts = episode.history.epochs, episode.counts_every_call
        refusal: EpisodeError | ConfigError | None = None
        reply: Reply | None = None
        reserves = tool == "run_epochs" and not first
        if reserves:
            await self._reserve()
        try:
            reply = await perform(episode, tool, arguments, on_progress)
        except (EpisodeError, ConfigError) as error:
            refusal = error
        except StoreError as error:
            raise self._lost(error) from error
        except Exception as error:  # a bug: the epochs that it completed are spent all the same
            await self._write(self._record(tool, arguments, None, f"the call failed: {error}", first), counts, reserves)
            self._gone = f"a call failed: {error}"
            raise
        except BaseException as error:  # what is in memory may not be what is written down
            self._gone = f"a call was given up: {error}"
            raise
        told = None if refusal is None else str(refusal)
        await self._write(self._record(tool, arguments, reply, told, first), counts, reserves)
        if refusal is not None:
            raise refusal
        assert reply is not None
        return reply

    def _record(
        self, tool: str, arguments: Arguments, reply: Reply | None, error: str | None, first: int
    ) -> CallRecord:
        """A call as it is written down, with the epochs from `first` on."""
        records = () if tool in LOOKS else self.episode.history.records[first:]
        units = tuple(_recorded_unit(record.trained) for record in records)
        return CallRecord(
            tool, arguments, reply=reply, error=error, units=units, weights_hash=self.episode.weights_hash
        )

    async def _write_refused(self, record: CallRecord) -> None:
        self._require_here()
        self.episode.count_refused_call()
        await self._write(record)

    async def _reserve(self) -> None:
        """Keep the episode's name for it before its first epochs are trained: until then a reset may take it."""
        try:
            await self._journal.reserve(self._ownership)
        except (EpisodeTakenError, StoreError) as error:
            raise self._lost(error) from error

    async def _write(self, record: CallRecord, counts: bool = False, frees_name: bool = False) -> None:
        """Write a call down, unless it had no effect and there are many such."""
        if _is_idle(record) and not counts:
            self._idle_calls += 1
            if self._idle_calls > MAX_IDLE_CALLS and not frees_name:
                return
        try:
            await self._journal.append(self._ownership, record, self.episode.needed_keys, frees_name)
        except (EpisodeTakenError, StoreError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> EpisodeError:
        """What was just done is not in the journal: only the journal knows what counts."""
        _LOG.error("episode %s cannot be written down: %s", self.header.name, error)
        self._gone = str(error)
        return EpisodeError(f"{error}; this call does not count. {self._way_back()}")

    def _require_here(self) -> None:
        if self._gone is not None:
            raise EpisodeError(f"this session does not play the episode any more: {self._gone}. {self._way_back()}")

    def _way_back(self) -> str:
        return f"Go on with it by reset (start_task over MCP) with episode_id={self.header.name!r} and resume=true"

    def _forget(self, work: "asyncio.Task[Reply]") -> None:
        self._works.discard(work)
        if not work.cancelled():
            work.exception()  # whoever was cancelled does not ask for it


def _is_idle(call: CallRecord) -> bool:
    """Whether a call had no effect, except that it may have brought the end nearer."""
    return (call.reply is None or call.tool in LOOKS) and not call.units


def _recorded_unit(unit: Unit) -> RecordedUnit:
    digest = unit.ref.digest or ""
    return RecordedUnit(
        UnitFigures(unit.ref.key, unit.figures, digest, unit.seconds), unit.from_cache, unit.ref.identity
    )


def shown_call(call: CallRecord) -> Mapping[str, Any]:
    """A call as its agent is reminded of it."""
    return {"tool_name": call.tool, "arguments": dict(call.arguments), "reply": call.reply, "error": call.error}
