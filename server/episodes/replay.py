"""From a journal back to an episode: the same calls are carried out again, on epochs that are known.

The rules run anew, so budget, rewards, schedule and checkpoints come out as they were. Only training
is not repeated: its figures are in the journal, its models are kept, or are trained again when needed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from ml_trainer_env.server.episodes.calls import LOOKS, perform
from ml_trainer_env.server.episodes.errors import EpisodeError, ReplayError
from ml_trainer_env.server.episodes.recorded import CallSource, RecordedSource
from ml_trainer_env.server.store import CallRecord
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.tuning.episode import Episode
from ml_trainer_env.server.tuning.observation import Reply

__all__ = ["cut", "replayed"]


async def replayed(blank: Episode, calls: Sequence[CallRecord], source: CallSource | None = None) -> list[Reply | None]:
    """Carry out recorded calls on an episode that has just begun; afterwards it goes on live.

    Args:
        blank: The episode, with its live source.
        calls: The calls.
        source: Gives the units; those that were recorded if None.

    Returns:
        The reply to each call, None for one that was refused.

    Raises:
        ReplayError: A reply differs from the one that was recorded.
    """
    live = blank.source
    blank.source = recorded = source or RecordedSource(live)
    replies = []
    for number, call in enumerate(calls, 1):
        recorded.begin(call)
        if not call.reached:
            blank.count_refused_call()
        reply = await _carried_out(blank, call) if call.reached else None
        was_recorded = call.reply is not None or call.error is not None
        comparable = _as_recorded(reply, call.reply)
        if was_recorded and call.tool not in LOOKS and not _same(comparable, call.reply):
            raise ReplayError(f"call {number}, {call.tool}, came out different: {_told(comparable, call.reply)}")
        replies.append(reply)
    blank.source = live
    return replies


def cut(calls: Sequence[CallRecord], place: str | None) -> list[CallRecord]:
    """The calls up to a place in an episode that is not its end.

    Args:
        calls: All of them.
        place: Name of a checkpoint: up to where it was last saved. Or a number of epochs: up to where
            as many had run, in the middle of a call if need be. None: all calls, but the one that ended the episode.

    Raises:
        LookupError: There is no such place.
    """
    opening = list(takewhile(lambda call: not (call.reply or {}).get("done"), calls))
    if place is None:
        return opening
    for index in reversed(range(len(opening))):
        call = opening[index]
        if call.tool == "save_checkpoint" and call.reply is not None and call.arguments.get("name") == place:
            return opening[: index + 1]
    if place.isascii() and place.isdigit():
        return _cut_at_epoch(opening, int(place))
    raise LookupError(f"it has no checkpoint {shown(place)}")


def _as_recorded(reply: Reply | None, recorded: Mapping[str, Any] | None) -> Reply | None:
    """A reply without the fields that replies did not have yet when it was recorded."""
    if reply is None or recorded is None:
        return reply
    return {name: value for name, value in reply.items() if name in recorded}


def _same(one: object, other: object) -> bool:
    """Whether two replies are equal once they have been through JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _told(now: Mapping[str, Any] | None, recorded: Mapping[str, Any] | None) -> str:
    """In which fields two replies differ."""
    if now is None or recorded is None:
        return "it was refused" if now is None else "it was accepted"
    return ", ".join(key for key in {**now, **recorded} if not _same(now.get(key), recorded.get(key)))


async def _carried_out(episode: Episode, call: CallRecord) -> Reply | None:
    try:
        return await perform(episode, call.tool, call.arguments)
    except (EpisodeError, ConfigError):
        return None


def _cut_at_epoch(calls: Sequence[CallRecord], epochs: int) -> list[CallRecord]:
    spent, kept = 0, []
    for call in calls:
        if spent == epochs:
            break
        wanted = epochs - spent
        if len(call.units) > wanted:
            # Chunks do not matter: the call might as well have asked for fewer. Its reply will be another.
            call = replace(call, arguments={"num_epochs": wanted}, units=call.units[:wanted], reply=None, error=None)
        spent += len(call.units)
        kept.append(call)
    if spent != epochs:
        raise LookupError(f"it has run {spent} epochs, not {epochs}")
    return kept
