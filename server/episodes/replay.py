"""Replays a journaled episode: carries out its calls again with the recorded units of work.

The rules run again, so budget, rewards and checkpoints are as before. The work is not repeated. Its figures are in the
journal. Its states are stored, or are computed again when they are needed.
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

__all__ = ["cut_calls", "replay_calls"]


async def replay_calls(
    episode: Episode, tools: Toolbox[Any], calls: Sequence[CallRecord], source: CallSource | None = None
) -> list[Reply | None]:
    """Carry out recorded calls on a new episode. Afterwards the episode uses its live source again.

    Args:
        episode: The episode, with its live source.
        tools: The tools of its game.
        calls: The recorded calls.
        source: The source of units. None for the recorded units.

    Returns:
        The reply to each call. None for a refused call.

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
        reply = await _call_or_none(episode, call) if call.reached else None
        was_recorded = call.reply is not None or call.error is not None
        comparable = _as_recorded(reply, call.reply)
        if was_recorded and not tools.effect(call.tool).reads_only and not _same(comparable, call.reply):
            raise ReplayError(f"call {number}, {call.tool}, came out different: {_differing(comparable, call.reply)}")
        if call.withheld is not None and not _same(episode.withheld, call.withheld):
            raise ReplayError(f"call {number}, {call.tool}, was graded differently")
        replies.append(reply)
    episode.source = live
    return replies


def cut_calls(calls: Sequence[CallRecord], place: str | None, game: Game) -> list[CallRecord]:
    """Return the calls up to a place in an episode.

    Args:
        calls: All calls.
        place: The name of a checkpoint: the last call returned is the one that saved it last. Or a number of units:
            the calls returned ran as many units, and the last call may be shortened. None: all calls before the end.
        game: The game of the episode.

    Raises:
        LookupError: The episode has no such place.
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
    """Return a reply without the fields that the recorded one does not have. They were added later."""
    if reply is None or recorded is None:
        return reply
    return {name: value for name, value in reply.items() if name in recorded}


def _same(one: object, other: object) -> bool:
    """Whether two replies are equal as JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _differing(now: Mapping[str, Any] | None, recorded: Mapping[str, Any] | None) -> str:
    """Describe the difference of two replies: the fields that differ, or that one is missing."""
    if now is None or recorded is None:
        return "it was refused" if now is None else "it was accepted"
    return ", ".join(key for key in {**now, **recorded} if not _same(now.get(key), recorded.get(key)))


async def _call_or_none(episode: Episode, call: CallRecord) -> Reply | None:
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
            # The result does not depend on how units are split into calls. So the call may ask for fewer units.
            argument = game.tools.effect(call.tool).spends or ""
            call = replace(call, arguments={argument: wanted}, units=call.units[:wanted], reply=None, error=None)
        spent += len(call.units)
        kept.append(call)
    if spent != units:
        raise LookupError(f"it has run {spent} {game.unit}s, not {units}")
    return kept
