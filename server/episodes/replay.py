"""Replays a journaled episode: its calls are carried out again, on the units of work that were recorded.

The rules run again, so budget, rewards and checkpoints come out as they were. Only the work is not repeated: its
figures are in the journal. Its states are stored, or are made again when they are needed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from ml_trainer_env.server.episodes.errors import EpisodeError, ReplayError
from ml_trainer_env.server.episodes.game import Episode, Game
from ml_trainer_env.server.episodes.recorded import CallSource, RecordedSource
from ml_trainer_env.server.episodes.tools import Reply, Toolbox
from ml_trainer_env.server.store import CallRecord
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import shown

__all__ = ["cut", "replayed"]


async def replayed(
    episode: Episode, tools: Toolbox[Any], calls: Sequence[CallRecord], source: CallSource | None = None
) -> list[Reply | None]:
    """Carry out recorded calls on an episode that has had no calls. Afterwards it goes on live.

    Args:
        episode: The episode, with its live source.
        tools: The tools of its game.
        calls: The calls.
        source: Gives the units of work; None for those that were recorded.

    Returns:
        The reply to each call, None for one that was refused.

    Raises:
        ReplayError: A reply differs from the recorded one.
    """
    live = episode.source
    episode.source = recorded = source or RecordedSource(live)
    replies = []
    for number, call in enumerate(calls, 1):
        recorded.begin(call)
        if not call.reached:
            episode.count_refused_call()
        reply = await _carried_out(episode, call) if call.reached else None
        was_recorded = call.reply is not None or call.error is not None
        comparable = _as_recorded(reply, call.reply)
        if was_recorded and not tools.effect(call.tool).reads_only and not _same(comparable, call.reply):
            raise ReplayError(f"call {number}, {call.tool}, came out different: {_differing(comparable, call.reply)}")
        replies.append(reply)
    episode.source = live
    return replies


def cut(calls: Sequence[CallRecord], place: str | None, game: Game) -> list[CallRecord]:
    """The calls up to a place in an episode before its end.

    Args:
        calls: All calls.
        place: The name of a checkpoint: up to the call that saved it last. Or a number of units: up to where as many
            had run, in the middle of a call if necessary. None: all calls but the one that ended the episode.
        game: The game of the episode.

    Raises:
        LookupError: There is no such place.
    """
    opening = list(takewhile(lambda call: not (call.reply or {}).get("done"), calls))
    if place is None:
        return opening
    for index in reversed(range(len(opening))):
        call = opening[index]
        mark = game.tools.effect(call.tool).marks
        if mark is not None and call.reply is not None and call.arguments.get(mark) == place:
            return opening[: index + 1]
    if place.isascii() and place.isdigit():
        return _cut_at_unit(opening, int(place), game)
    raise LookupError(f"it has no checkpoint {shown(place)}")


def _as_recorded(reply: Reply | None, recorded: Mapping[str, Any] | None) -> Reply | None:
    """A reply without the fields that replies did not have yet when it was recorded."""
    if reply is None or recorded is None:
        return reply
    return {name: value for name, value in reply.items() if name in recorded}


def _same(one: object, other: object) -> bool:
    """Whether two replies are equal once they have been through JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _differing(now: Mapping[str, Any] | None, recorded: Mapping[str, Any] | None) -> str:
    """The fields in which two replies differ, or what else is different."""
    if now is None or recorded is None:
        return "it was refused" if now is None else "it was accepted"
    return ", ".join(key for key in {**now, **recorded} if not _same(now.get(key), recorded.get(key)))


async def _carried_out(episode: Episode, call: CallRecord) -> Reply | None:
    try:
        return await episode.call(call.tool, call.arguments)
    except (EpisodeError, ConfigError):
        return None


def _cut_at_unit(calls: Sequence[CallRecord], units: int, game: Game) -> list[CallRecord]:
    spent, kept = 0, []
    for call in calls:
        if spent == units:
            break
        wanted = units - spent
        if len(call.units) > wanted:
            # Cutting a run into calls does not change it, so the call could have asked for fewer. Its reply differs.
            argument = game.tools.effect(call.tool).spends or ""
            call = replace(call, arguments={argument: wanted}, units=call.units[:wanted], reply=None, error=None)
        spent += len(call.units)
        kept.append(call)
    if spent != units:
        raise LookupError(f"it has run {spent} {game.unit}s, not {units}")
    return kept
