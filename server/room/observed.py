"""What an observer may see of episodes. Everything that leaves the room passes `without_hidden`.

Before an episode ends, nothing tells what only its end tells: figures of held-out examples, grades, and what goes wrong
in a fleet. An observer learns no more than the replies to the agent say, and the figures of units that a view names.
What the journal withholds for ever (a ranked grade) is never read here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any, TypeVar

from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.room.views import View
from ml_trainer_env.server.store import CallRecord, DamagedEpisode, EpisodeHeader, EpisodeSummary
from ml_trainer_env.server.trainer.figures import Figures

__all__ = [
    "HIDDEN",
    "columns",
    "is_over",
    "observed_call",
    "observed_header",
    "observed_insight",
    "observed_live",
    "observed_summary",
    "observed_view",
    "visible_units",
    "without_hidden",
]

HIDDEN = frozenset(
    {
        "score",
        "details",
        "grade",
        "graded_epoch",
        "test_accuracy",
        "submitted_accuracy",
        "submitted_loss",
        "best_accuracy",
        "best_loss",
        "held_out_loss",
        "nothing_loss",
        "clean_loss",
        "incidents",
        "faults",
        "reports",
        "withheld",
        "submission",
    }
)
"""Names of what is told at the end of an episode and not before, in the replies of all games."""

Value = TypeVar("Value")

_DIGITS = 4
_MAX_HAPPENINGS = 400
_SPARK_POINTS = 30


def without_hidden(value: Any, is_over: bool) -> Any:
    """Return a JSON value as an observer may see it.

    Args:
        value: The value.
        is_over: Whether its episode has ended.
    """
    if is_over:
        return value
    if isinstance(value, Mapping):
        return {name: without_hidden(part, is_over) for name, part in value.items() if name not in HIDDEN}
    if isinstance(value, list | tuple):
        return [without_hidden(part, is_over) for part in value]
    return value


def is_over(calls: Sequence[CallRecord]) -> bool:
    """Whether an episode has ended, by its calls."""
    return any(call.reply is not None and call.reply.get("done") is True for call in calls)


def observed_call(number: int, call: CallRecord, is_over: bool) -> dict[str, Any]:
    """Return a call.

    Args:
        number: Its number in the episode, from 1.
        call: The call.
        is_over: Whether the episode has ended.
    """
    shown = {
        "number": number,
        "at": call.at,
        "tool": call.tool,
        "arguments": dict(call.arguments),
        "reply": None if call.reply is None else dict(call.reply),
        "error": call.error,
        "reason": call.reason,
        "inherited": call.inherited,
        "units": len(call.units),
    }
    return dict(without_hidden(shown, is_over))


def observed_header(header: EpisodeHeader) -> dict[str, Any]:
    """Return the initial facts of an episode."""
    return {
        "name": header.name,
        "task": header.task,
        "agent": header.agent,
        "seed": header.seed,
        "rubric": header.rubric,
        "rules": header.rules,
        "forked_from": header.forked_from,
    }


def observed_summary(summary: EpisodeSummary | DamagedEpisode, view: View, is_open: bool) -> dict[str, Any]:
    """Return an episode of the journal, for a list. The state is live, finished, exported or unfinished."""
    if isinstance(summary, DamagedEpisode):
        return {"name": summary.name, "state": "damaged", "reason": summary.reason}
    shown = {
        "name": summary.name,
        "game": view.game,
        "task": summary.task,
        "agent": summary.agent,
        "seed": summary.seed,
        "rubric": summary.rubric,
        "unit": view.unit,
        "epochs": summary.epochs,
        "calls": summary.calls,
        "state": _state(summary, is_open),
        "score": summary.score,
        "forked_from": summary.forked_from,
        "begun_at": summary.begun_at,
        "called_at": summary.called_at,
    }
    return dict(without_hidden(shown, summary.done))


def _state(summary: EpisodeSummary, is_open: bool) -> str:
    if summary.done:
        return "finished"
    if summary.exported:
        return "exported"
    return "live" if is_open else "unfinished"


def observed_live(opened: OpenEpisode, view: View) -> dict[str, Any]:
    """Return an open episode, for the list of live ones."""
    header, episode = opened.header, opened.episode
    units = episode.units
    seen = units[: visible_units(view, header, episode, len(units), episode.done)]
    spark = [round_figure(unit.figures.get(view.headline or "")) for unit in _spread(seen, _SPARK_POINTS)]
    standing, running = view.standing(episode), opened.changes.running
    shown: dict[str, Any] = {
        "name": header.name,
        "game": view.game,
        "task": header.task,
        "agent": header.agent,
        "unit": view.unit,
        "epochs": len(units),
        "budget": standing.budget,
        "spent": round(min(1.0, max(0.0, standing.spent)), 4),
        "left": standing.left,
        "signal": standing.signal,
        "headline": view.headline,
        "value": spark[-1] if spark else None,
        "spark": spark if view.headline else [],
        "score": episode.score,
        "state": "finished" if episode.done else "live",
        "calls": opened.call_count,
        "running": None,
        "changed_at": opened.changes.at,
    }
    if running is not None:
        progress = running.progress
        shown["running"] = {
            "tool": running.tool,
            "arguments": dict(running.arguments),
            "began_at": running.began_at,
            "reason": running.reason,
            "done": progress.done if progress else 0,
            "total": progress.total if progress else None,
            "message": progress.message if progress else "",
        }
    return dict(without_hidden(shown, episode.done))


def observed_insight(view: View, episode: Any, is_over: bool) -> dict[str, Any]:
    """Return what happened besides the units of an episode, and after its end what had gone wrong.

    Args:
        view: The view of its game.
        episode: The episode, open or replayed. None where there is none.
        is_over: Whether it has ended.
    """
    if view.insight is None or episode is None:
        return {"happenings": [], "truth": []}
    happenings = [
        {"after": one.after, "clock_s": one.clock_s, "text": one.text} for one in view.insight.happenings(episode)
    ]
    truth = view.insight.truth(episode) if is_over else ()
    return {"happenings": happenings[-_MAX_HAPPENINGS:], "truth": [asdict(one) for one in truth]}


def observed_view(view: View) -> dict[str, Any]:
    """Return how a game is drawn."""
    return {
        "game": view.game,
        "unit": view.unit,
        "headline": view.headline,
        "charts": [
            {"title": one.title, "figures": dict(one.figures), "share": one.share, "log": one.log}
            for one in view.charts
        ],
        "heat_maps": [
            {
                "title": one.title,
                "figures": list(one.figures),
                "labels": list(one.labels),
                "least_span": one.least_span,
            }
            for one in view.heat_maps
        ],
    }


def visible_units(view: View, header: EpisodeHeader, episode: Any, count: int, is_over: bool) -> int:
    """Return how many of the first units of an episode may be seen by now.

    Args:
        view: The view of its game.
        header: Its header.
        episode: The episode, open or replayed. None where there is none.
        count: Number of its units.
        is_over: Whether the episode has ended.
    """
    return count if is_over else view.shown_units(header, episode, count)


def columns(
    view: View, units: Iterable[tuple[Figures, float]], episode: Any = None, first: int = 0
) -> dict[str, list[Any]]:
    """Return the figures of units that may be seen, a column for each figure that the view names.

    Args:
        view: The view of the game.
        units: The figures, and the wall time in seconds, of each unit in order.
        episode: The episode, which may know more of them. None where there is none.
        first: Index of the first of these units in the episode.
    """
    units = list(units)
    known: Sequence[Mapping[str, Any]] = [figures for figures, _ in units]
    if view.insight is not None and episode is not None:
        more = view.insight.figures(episode, first, first + len(units))
        # Another session may have gone on with the episode, so that this one has fewer units.
        none: Mapping[str, Any] = {}
        known = [{**figures, **own} for figures, own in zip_longest(known, more, fillvalue=none)]
    found: dict[str, list[Any]] = {name: [round_figure(one.get(name)) for one in known] for name in view.figures}
    found["seconds"] = [round_figure(seconds) for _, seconds in units]
    return dict(without_hidden(found, is_over=False))


def round_figure(value: object) -> float | None:
    """Return a figure with 4 significant digits. None if it is missing or not finite."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(f"{value:.{_DIGITS}g}")
    return None


def _spread(values: Sequence[Value], most: int) -> list[Value]:
    """Return at most so many of the values, spread evenly, the last one among them."""
    last, count = len(values) - 1, min(len(values), most)
    places: Iterable[int] = (last - last * back // max(1, count - 1) for back in reversed(range(count)))
    return [values[place] for place in places]
