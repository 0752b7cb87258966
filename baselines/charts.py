"""The kinds of charts that reports have. Each is drawn from values, and tells them where one points; see `svg`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ml_trainer_env.baselines.svg import TOP, WIDTH, Frame, Place, figure_html, finite_range, shown, tag

__all__ = ["Interval", "Line", "Mark", "Series", "heat_chart", "interval_chart", "line_chart", "scatter_chart"]

_COLOURS = 8
_ROW, _CELL = 30, 22
_NAME_GAP = 15
_LONGEST_NAME = 34


@dataclass(frozen=True, slots=True)
class Line:
    """A line.

    Attributes:
        name: Its name.
        points: The value at each place. None where it is missing.
        spreads: The ends of an interval around each value. Empty for none.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    spreads: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a place of a line chart.

    Attributes:
        at: The place.
        text: What happened.
        colour: Number of its colour.
    """

    at: float
    text: str
    colour: int = 7


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval, in a row of its own.

    Attributes:
        name: Name of the row.
        mean: The value.
        low: The lower end. Not finite for none.
        high: The upper end.
        told: What is told of it.
        is_filled: Whether its dot is filled.
    """

    name: str
    mean: float
    low: float
    high: float
    told: str
    is_filled: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind.

    Attributes:
        name: Its name.
        points: The points: across, up, and what is told of each.
    """

    name: str
    points: Sequence[tuple[float, float, str]] = field(default_factory=tuple)


def line_chart(
    title: str,
    x_name: str,
    lines: Sequence[Line],
    *,
    marks: Sequence[Mark] = (),
    level: tuple[str, float] | None = None,
    x_end: float | None = None,
    x_labels: Sequence[tuple[float, str]] | None = None,
    has_table: bool = True,
) -> str:
    """Draw lines over one axis.

    Args:
        title: The title.
        x_name: Name of the axis.
        lines: The lines.
        marks: What happened, as dashed verticals.
        level: Name and value of a horizontal line.
        x_end: The end of the axis. None for the last place.
        x_labels: Places with their texts. None for round numbers.
        has_table: Whether the values are in a table below, too.
    """
    xs = sorted({x for line in lines for x, _ in line.points})
    ends = [end for line in lines for spread in line.spreads for end in spread]
    values = [*(value for line in lines for _, value in line.points), *ends, *([level[1]] if level else ())]
    first, last = min(xs, default=0.0), max([*xs, *([] if x_end is None else [x_end])], default=1.0)
    x_range = (first - 0.4, last + 0.4) if x_labels else (first, last) if last > first else (first - 1, first + 1)
    frame = Frame(
        x_range, finite_range(values), right=30 + 7 * min(20, max((len(one.name) for one in lines), default=0))
    )
    drawn = frame.y_axis() + frame.x_axis(x_name, x_labels)
    drawn += "".join(_vertical(frame, mark) for mark in marks)
    if level is not None:
        drawn += tag(
            "line",
            x1=frame.left,
            x2=WIDTH - frame.right,
            y1=frame.py(level[1]),
            y2=frame.py(level[1]),
            stroke="var(--c4)",
            stroke_dasharray="6 4",
        )
    drawn += "".join(_line(frame, number, line) for number, line in enumerate(lines)) + _names(frame, lines)
    by_line = [dict(line.points) for line in lines]
    labels = dict(x_labels or ())
    rows = [[labels.get(x, shown(x)), *(shown(points.get(x)) for points in by_line)] for x in xs]
    places = [
        Place(
            f"{x_name} {row[0]}: "
            + ", ".join(f"{line.name} {value}" for line, value in zip(lines, row[1:], strict=True)),
            (left, TOP, right - left, frame.bottom - TOP),
            _pointed(frame, x, [points.get(x) for points in by_line]),
        )
        for x, (left, right), row in zip(xs, _zones(frame, xs), rows, strict=True)
    ]
    places += [Place(mark.text, (frame.px(mark.at) - 4, frame.bottom - 12, 8, 16)) for mark in marks]
    told = "; ".join(_told(line) for line in lines) or "nothing yet"
    table = ([x_name, *(line.name for line in lines)], rows) if has_table else None
    return figure_html(title, told, frame.height, drawn, places, table)


def interval_chart(title: str, x_name: str, rows: Sequence[Interval], zero: bool = False) -> str:
    """Draw a value with its interval in each row, the first on top. With `zero` a line at 0."""
    ends = [end for row in rows for end in (row.mean, row.low, row.high)]
    longest = min(_LONGEST_NAME, max((len(row.name) for row in rows), default=0))
    height = TOP + _ROW * max(1, len(rows)) + 46
    frame = Frame(finite_range([*ends, *([0.0] if zero else ())]), (0, 1), height, 20 + 7 * longest, 20)
    drawn, places = frame.x_axis(x_name), []
    if zero:
        at = frame.px(0.0)
        drawn += tag("line", x1=at, x2=at, y1=TOP, y2=frame.bottom, stroke="currentColor", stroke_dasharray="5 4")
    for number, row in enumerate(rows):
        y, x = TOP + _ROW * (number + 0.5), frame.px(row.mean)
        colour = f"var(--c{0 if not zero or row.mean >= 0 else 1})"
        drawn += tag("text", _short(row.name, _LONGEST_NAME), x=frame.left - 8, y=y + 4, text_anchor="end")
        if row.low <= row.high:
            drawn += tag(
                "line", x1=frame.px(row.low), x2=frame.px(row.high), y1=y, y2=y, stroke=colour, stroke_width=2.5
            )
        fill = colour if row.is_filled else "var(--card)"
        drawn += tag("circle", cx=x, cy=y, r=5.5, fill=fill, stroke=colour, stroke_width=2)
        places.append(Place(row.told, (0, TOP + _ROW * number, WIDTH, _ROW)))
    return figure_html(title, "; ".join(row.told for row in rows), height, drawn, places)


def heat_chart(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """Draw values as colours, from 0 (pale) to 1 (dark).

    Args:
        title: The title.
        rows: Names of the rows.
        columns: Names of the columns.
        values: A value for each row and column.
    """
    left = 20 + 7 * min(_LONGEST_NAME, max(map(len, rows), default=0))
    width = (WIDTH - left - 10) / max(1, len(columns))
    drawn, places = "", []
    for number, (name, row) in enumerate(zip(rows, values, strict=True)):
        top = TOP + _CELL * number
        drawn += tag("text", _short(name, _LONGEST_NAME), x=left - 8, y=top + 15, text_anchor="end")
        for place, (column, value) in enumerate(zip(columns, row, strict=True)):
            x = round(left + place * width, 1)
            cell = {"x": x, "y": top, "width": round(max(width - 1, 0.5), 1), "height": _CELL - 2}
            strength = round(0.07 + 0.93 * min(1.0, max(0.0, value)), 3)
            drawn += tag("rect", **cell, fill="var(--c0)", fill_opacity=strength)
            frame = tag("rect", **cell, fill="none", stroke="currentColor", stroke_width=2)
            places.append(Place(f"{name} on {column}: {shown(value)}", (x, top, width, _CELL), frame))
    height = TOP + _CELL * len(rows) + 26
    drawn += tag("text", "pale: 0, dark: 1", x=left, y=height - 8, class_="soft")
    return figure_html(title, f"{len(rows)} by {len(columns)} values", height, drawn, places)


def scatter_chart(title: str, x_name: str, y_name: str, series: Sequence[Series]) -> str:
    """Draw points over two axes, with the line on which both values are equal."""
    xs = [x for one in series for x, _, _ in one.points]
    ys = [y for one in series for _, y, _ in one.points]
    frame = Frame(finite_range(xs), finite_range(ys), height=360, right=30 + 7 * 20)
    drawn = frame.y_axis() + frame.x_axis(x_name)
    low, high = max(frame.x[0], frame.y[0]), min(frame.x[1], frame.y[1])
    if low < high:
        ends = {"x1": frame.px(low), "y1": frame.py(low), "x2": frame.px(high), "y2": frame.py(high)}
        drawn += tag("line", **ends, stroke="currentColor", stroke_dasharray="5 4", stroke_opacity=0.6)
    places = []
    for number, one in enumerate(series):
        colour, at = f"var(--c{number % _COLOURS})", TOP + 14 + 18 * number
        drawn += tag("circle", cx=WIDTH - frame.right + 14, cy=at - 4, r=5, fill=colour)
        drawn += tag("text", _short(one.name, 17), x=WIDTH - frame.right + 25, y=at)
        for x, y, told in one.points:
            left, top = frame.px(x), frame.py(y)
            drawn += tag("circle", cx=left, cy=top, r=4, fill=colour, fill_opacity=0.8)
            ring = tag("circle", cx=left, cy=top, r=7, fill="none", stroke="currentColor", stroke_width=2)
            places.append(Place(told, (left - 7, top - 7, 14, 14), ring))
    drawn += tag("text", y_name, x=16, y=(TOP + frame.bottom) / 2, text_anchor="middle", class_="soft",
                 transform=f"rotate(-90 16 {(TOP + frame.bottom) / 2:g})")  # fmt: skip
    rows = [[told] for one in series for _, _, told in one.points]
    return figure_html(title, f"{len(rows)} points", frame.height, drawn, places, (["Plays"], rows))


def _line(frame: Frame, number: int, line: Line) -> str:
    """Draw a line, with gaps where values are missing, dots where they are few, and intervals."""
    colour, path, is_down = f"var(--c{number % _COLOURS})", "", False
    dots = ""
    known = [(x, value) for x, value in line.points if value is not None]
    for x, value in line.points:
        if value is not None:
            path += f"{'L' if is_down else 'M'}{frame.px(x):g} {frame.py(value):g}"
        is_down = value is not None
    if len(known) <= 40:
        dots = "".join(tag("circle", cx=frame.px(x), cy=frame.py(value), r=2.5, fill=colour) for x, value in known)
    bars = "".join(
        tag("line", x1=frame.px(x), x2=frame.px(x), y1=frame.py(low), y2=frame.py(high), stroke=colour)
        for (x, _), (low, high) in zip(line.points, line.spreads, strict=False)
        if low <= high
    )
    dashed = {"stroke_dasharray": "6 4"} if number % 2 else {}
    return tag("path", d=path or "M0 0", stroke=colour, class_="line", **dashed) + dots + bars


def _names(frame: Frame, lines: Sequence[Line]) -> str:
    """Write the name of each line beside its end, apart from each other and above the lower axis."""
    ends = []
    for number, line in enumerate(lines):
        known = [(x, value) for x, value in line.points if value is not None]
        if known:
            ends.append((frame.py(known[-1][1]) + 4, frame.px(known[-1][0]) + 8, number, line.name))
    ends.sort()
    places: list[float] = []
    for y, *_ in ends:
        places.append(max(y, places[-1] + _NAME_GAP) if places else y)
    most = frame.bottom
    for index in reversed(range(len(places))):
        places[index] = min(places[index], most)
        most = places[index] - _NAME_GAP
    return "".join(
        tag("text", _short(name, 20), x=x, y=round(y, 1), style=f"fill: var(--c{number % _COLOURS})")
        for y, (_, x, number, name) in zip(places, ends, strict=True)
    )


def _vertical(frame: Frame, mark: Mark) -> str:
    at = frame.px(mark.at)
    return tag("line", x1=at, x2=at, y1=TOP, y2=frame.bottom, stroke=f"var(--c{mark.colour})", stroke_dasharray="3 4")


def _pointed(frame: Frame, x: float, values: Sequence[float | None]) -> str:
    """Draw what is shown while one points at a place: a vertical, and a dot on each line."""
    at = frame.px(x)
    dots = "".join(
        tag("circle", cx=at, cy=frame.py(value), r=4.5, fill=f"var(--c{number % _COLOURS})")
        for number, value in enumerate(values)
        if value is not None
    )
    return tag("line", x1=at, x2=at, y1=TOP, y2=frame.bottom, stroke="currentColor", stroke_opacity=0.5) + dots


def _zones(frame: Frame, xs: Sequence[float]) -> list[tuple[float, float]]:
    """Return the left and right edge of what belongs to each place: up to the middle between two."""
    middles = [(frame.px(one) + frame.px(other)) / 2 for one, other in pairwise(xs)]
    edges = [float(frame.left), *middles, float(WIDTH - frame.right)]
    return list(pairwise(edges)) if xs else []


def _told(line: Line) -> str:
    known = [value for _, value in line.points if value is not None]
    return f"{line.name} from {shown(known[0])} to {shown(known[-1])}" if known else f"{line.name}: nothing"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
