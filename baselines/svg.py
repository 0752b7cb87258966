"""Charts of a report as SVG: scales, axes, and values that are told where one points. No script, and nothing is loaded.

A place that one points at shows its values in a line above the chart, by a rule of `CHART_STYLE` alone. So a report may
be read under a Content-Security-Policy that allows no script. What is drawn is also in a table, for those who do not
point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["CHART_STYLE", "Frame", "Place", "figure_html", "finite_range", "shown", "tag"]

WIDTH = 720
LEFT, TOP, BOTTOM = 60, 34, 42
_LEAST_RANGE = 1e-9

CHART_STYLE = """
:root { --c0: #0b6bcb; --c1: #a8510f; --c2: #5b4bb4; --c3: #9a2c6b; --c4: #2f6d1e;
  --c5: #b42318; --c6: #0b7a75; --c7: #5f6b78; }
@media (prefers-color-scheme: dark) { :root { --c0: #6cb2ff; --c1: #f0955a; --c2: #b3a7ff; --c3: #f07fbd; --c4: #93cf6b;
  --c5: #ff8a7d; --c6: #4cc2b9; --c7: #a3acb5; } }
figure.chart { margin: .5rem 0 1rem; }
figure.chart > .scroll:focus-visible { outline: 3px solid var(--c0); }
figure.chart figcaption { font-weight: 600; }
figure.chart svg { display: block; font: 13px system-ui, sans-serif; min-width: 34rem; max-width: 54rem; width: 100%; }
figure.chart text { fill: currentColor; } figure.chart text.soft { fill: var(--soft); }
figure.chart .grid { stroke: var(--line); fill: none; } figure.chart .line { fill: none; stroke-width: 2; }
figure.chart .at .told { pointer-events: none; visibility: hidden; } figure.chart .zone { fill: transparent; }
figure.chart .at:hover .told, figure.chart .at:focus .told { visibility: visible; } figure.chart .at { outline: none; }
figure.chart details { font-size: .9em; }
"""
"""The styles of all charts, for a page that has the styles of `page.STYLE`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place that one may point at.

    Attributes:
        told: What is told of it, as text.
        zone: Its left edge, top, width and height.
        drawn: What is drawn while one points at it, SVG.
    """

    told: str
    zone: tuple[float, float, float, float]
    drawn: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """The area of a chart, with a linear scale each way.

    Attributes:
        x: The values at its left and right edge.
        y: The values at its lower and upper edge.
        height: Height of the whole chart.
        left: Room left of the area.
        right: Room right of it.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    height: int = 260
    left: int = LEFT
    right: int = 90

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.height - BOTTOM

    def px(self, value: float) -> float:
        """Return the place of a value from the left."""
        low, high = self.x
        return round(self.left + (WIDTH - self.left - self.right) * (value - low) / (high - low), 1)

    def py(self, value: float) -> float:
        """Return the place of a value from the top."""
        low, high = self.y
        return round(self.bottom - (self.bottom - TOP) * (value - low) / (high - low), 1)

    def x_axis(self, name: str, ticks: Sequence[tuple[float, str]] | None = None) -> str:
        """Draw the axis below: its lines, the texts at them, and its name. None for round numbers."""
        parts = []
        for value, label in _round_ticks(*self.x) if ticks is None else ticks:
            at = self.px(value)
            parts.append(tag("line", x1=at, x2=at, y1=TOP, y2=self.bottom, class_="grid"))
            parts.append(tag("text", label, x=at, y=self.bottom + 17, text_anchor="middle", class_="soft"))
        middle = (self.left + WIDTH - self.right) / 2
        parts.append(tag("text", name, x=middle, y=self.height - 6, text_anchor="middle", class_="soft"))
        return "".join(parts)

    def y_axis(self) -> str:
        """Draw the axis at the left."""
        parts = []
        for value, label in _round_ticks(*self.y):
            at = self.py(value)
            parts.append(tag("line", x1=self.left, x2=WIDTH - self.right, y1=at, y2=at, class_="grid"))
            parts.append(tag("text", label, x=self.left - 7, y=at + 4, text_anchor="end", class_="soft"))
        return "".join(parts)


def figure_html(
    title: str,
    summary: str,
    height: float,
    drawn: str,
    places: Sequence[Place],
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None,
) -> str:
    """Write a chart as HTML. All texts are escaped.

    Args:
        title: Its title.
        summary: What it shows, for those who do not see it.
        height: Its height, where its width is `WIDTH`.
        drawn: What is drawn, SVG.
        places: The places that one may point at.
        table: Heads and rows of its values. None if the page has them elsewhere.
    """
    pointed = "".join(_place(place) for place in places)
    label = escape(f"{title}: {summary}", quote=True)
    values = (
        "" if table is None else f"<details><summary>Values of this chart</summary>{_table(title, *table)}</details>"
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(title, quote=True)}">'
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{label}">{drawn}{pointed}</svg></div>'
        f"{values}</figure>"
    )


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Write an element with a text. An underscore in an attribute's name is a hyphen, and one at its end nothing."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"' for key, value in attributes.items()
    )
    return f"<{name}{given}>{escape(content)}</{name}>"


def shown(value: float | None) -> str:
    """Write a number with 4 significant digits; `-` for none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"


def finite_range(values: Sequence[float | None], margin: float = 0.05) -> tuple[float, float]:
    """Return a range around the finite values, a little wider than they are."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = margin * (high - low) if high - low > _LEAST_RANGE else 0.5 * abs(high) or 0.5
    return low - room, high + room


def _place(place: Place) -> str:
    left, top, width, height = place.zone
    zone = tag("rect", x=round(left, 1), y=round(top, 1), width=round(width, 1), height=round(height, 1), class_="zone")
    told = tag("text", place.told, x=LEFT - 50, y=16)
    # It takes the focus of a tap, and no step of the Tab key: a chart has hundreds of places, and a table of them.
    return f'<g class="at" tabindex="-1">{zone}<g class="told">{told}{place.drawn}</g></g>'


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(one)}</td>' for one in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(f"Values: {title}", quote=True)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _round_ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Return round numbers within a range, with their texts."""
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(one * size for one in (1, 2, 2.5, 5, 10) if one * size >= rough)
    first = math.ceil(low / step - _LEAST_RANGE)
    numbers = [round(index * step, 10) for index in range(first, math.floor(high / step + _LEAST_RANGE) + 1)]
    return [(number, f"{number:g}") for number in numbers]
