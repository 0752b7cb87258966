"""What an observer may see of the episodes of a game, and how it is drawn. A view is a value."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_trainer_env.server.store import EpisodeHeader

__all__ = ["Chart", "Happening", "HeatMap", "Insight", "Standing", "Trace", "View", "Views"]


@dataclass(frozen=True, slots=True)
class Chart:
    """Figures that are drawn together.

    Attributes:
        title: What the axis shows, with its unit.
        figures: The label beside each line, by the name of its figure.
        share: Whether the values are shares, from 0 to 1.
        log: Whether the axis is logarithmic.
    """

    title: str
    figures: Mapping[str, str]
    share: bool = False
    log: bool = False


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A figure of each of several parts, drawn as rows of coloured cells.

    Attributes:
        title: What the colours show.
        figures: The figure of each part, in order.
        labels: The label of each part.
        least_span: The colours span at least so much, so that noise stays pale.
    """

    title: str
    figures: tuple[str, ...]
    labels: tuple[str, ...]
    least_span: float = 0.0


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened besides the units of work.

    Attributes:
        after: Number of units before it.
        clock_s: The moment on the game's own clock, in seconds.
        text: What happened, in words.
    """

    after: int
    clock_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Cells of a heat map that something touched.

    Attributes:
        label: What touched them.
        part: Index of the row.
        first: Index of the first unit.
        last: Index of the last one.
    """

    label: str
    part: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Insight:
    """What no unit records and an episode knows: it follows from its calls and their units.

    Attributes:
        names: The names of figures that it adds to those of units. Charts and heat maps may name them.
        figures: Returns them for the units from one index to before another, in order, a mapping for each.
        happenings: Returns what happened besides by now, in order.
        truth: Returns what had gone wrong, as traces on heat maps. It is asked only after the end.
    """

    names: tuple[str, ...]
    figures: Callable[[Any, int, int], Sequence[Mapping[str, float]]]
    happenings: Callable[[Any], Sequence[Happening]]
    truth: Callable[[Any], Sequence[Trace]]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an open episode stands.

    Attributes:
        budget: Number of units that it may run. None if units do not limit it.
        signal: One word on how it goes.
        spent: Share of the budget that is spent, from 0 to 1.
        left: The rest of the budget as text.
    """

    budget: int | None = None
    signal: str = ""
    spent: float = 0.0
    left: str = ""


def _nothing_known(_: Any) -> Standing:
    return Standing()


def _all_shown(_: EpisodeHeader, __: Any, count: int) -> int:
    return count


@dataclass(frozen=True, slots=True)
class View:
    """What may be seen of a game. A figure that it does not name is never shown.

    Attributes:
        game: The name of the game, for filters.
        unit: The noun for a unit of work.
        tasks: Beginnings of the ids of its tasks. Empty if it has those that no other view names.
        headline: The figure that lists show. None for none.
        charts: The charts.
        heat_maps: The heat maps.
        client: Name of the client class, for scripts.
        standing: Returns where an open episode stands.
        shown_units: Returns how many of the first units may be seen by now, of an episode that has not ended. Its
            arguments are the header, the episode (open, or replayed) or None, and the number of its units.
        insight: What the episode knows besides. None for nothing.
    """

    game: str
    unit: str
    tasks: tuple[str, ...] = ()
    headline: str | None = None
    charts: tuple[Chart, ...] = ()
    heat_maps: tuple[HeatMap, ...] = ()
    client: str = "MLTrainerEnv"
    standing: Callable[[Any], Standing] = _nothing_known
    shown_units: Callable[[EpisodeHeader, Any, int], int] = _all_shown
    insight: Insight | None = None

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of all figures that are shown."""
        drawn = [name for chart in self.charts for name in chart.figures]
        mapped = [name for one in self.heat_maps for name in one.figures]
        return tuple(dict.fromkeys([*drawn, *mapped, *(self.insight.names if self.insight else ())]))


@dataclass(frozen=True, slots=True)
class Views:
    """The views of a server's games.

    Attributes:
        all: The views.
    """

    all: tuple[View, ...] = field(default_factory=tuple)

    def of_task(self, task: str) -> View:
        """Return the view of the game that has a task."""
        named = [view for view in self.all if view.tasks and task.startswith(view.tasks)]
        rest = [view for view in self.all if not view.tasks]
        return next(iter([*named, *rest]), View("unknown", "unit"))

    def find(self, game: str) -> View | None:
        """Return the view of a game. None for an unknown game."""
        return next((view for view in self.all if view.game == game), None)

    def tasks_beside(self, view: View) -> tuple[str, ...]:
        """Return the beginnings of the ids of the tasks that other views name."""
        return tuple(text for other in self.all if other is not view for text in other.tasks)
