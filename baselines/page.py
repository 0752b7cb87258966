"""Parts of the HTML page that shows a run of any game. All text is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ml_trainer_env.baselines.episode import Result
from ml_trainer_env.baselines.svg import CHART_STYLE

__all__ = ["STYLE", "cell", "closed_note", "fixed", "page", "pairs", "score", "text"]

STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --card: #f6f8fa;
  --page: #fff; --good: #1a7f37; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #8b949e;
  --card: #161b22; --page: #0d1117; --good: #3fb950; --warn: #d29922; } }
* { box-sizing: border-box; }
html { background: var(--page); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.warn { color: var(--warn); font-weight: 600; }
.scroll { overflow-x: auto; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  margin: 1rem 0; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
th.number { text-align: right; }
td.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
td.text { min-width: 14rem; overflow-wrap: anywhere; }
img { height: auto; max-width: 100%; }
code { font-size: .9em; overflow-wrap: anywhere; }
summary { cursor: pointer; margin-top: .75rem; }
"""


def page(run: Mapping[str, Any], notes: Sequence[str], columns: Sequence[str], rows: str, sections: str) -> str:
    """Write the page.

    Args:
        run: `run`, `agent`, `started`, `seconds`, `problem`, `mean_score`, as in `results.json`.
        notes: Paragraphs above the table, HTML.
        columns: Heads of the table.
        rows: Its rows, HTML.
        sections: What follows it, HTML.
    """
    head = "".join(f"<th>{name}</th>" for name in columns)
    noted = "\n".join(notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(run["run"])}</title>
<style>{STYLE}{CHART_STYLE}</style>
</head>
<body>
<h1>ML Training Optimizer: {text(run["agent"])}</h1>
<p class="soft">Run {text(run["run"])}, started {text(run["started"])},
{fixed(run["seconds"], 1)} s. Mean score {fixed(run["mean_score"], 4)}.</p>
{_problem(str(run["problem"]))}
{noted}
<section class="scroll" tabindex="0" aria-label="Episodes">
<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></section>
{sections}
</body>
</html>
"""


def closed_note(episodes: Sequence[Result]) -> str:
    """Write how many episodes the program closed. Empty if none."""
    closed = sum(not episode.played_to_end for episode in episodes)
    if not closed:
        return ""
    return (
        f'<p class="warn">{closed} of {len(episodes)} episodes were not played to the end: the agent stopped, or had '
        "no decisions left, and the program made the closing calls. They count 0 in the mean score.</p>"
    )


def score(result: Result) -> str:
    """Write the score of an episode."""
    if result.played_to_end:
        return f"<strong>{fixed(result.score, 4)}</strong>"
    return f'<span class="warn">closed by the program: counts 0</span> (graded {fixed(result.score, 4)})'


def pairs(title: str, given: Mapping[str, Any]) -> str:
    """Write names and values. Empty if there are none."""
    if not given:
        return ""
    listed = ", ".join(f"{text(name)} <code>{text(value)}</code>" for name, value in given.items())
    return f"<p><strong>{text(title)}:</strong> {listed}</p>"


def cell(html: str, kind: str = "") -> str:
    """Write a cell of a table."""
    return f'<td class="{kind}">{html}</td>' if kind else f"<td>{html}</td>"


def fixed(value: object, places: int) -> str:
    """Write a number; `-` if it is missing."""
    return f"{value:.{places}f}" if isinstance(value, int | float) else "-"


def text(value: object) -> str:
    """Escape a text."""
    return escape(str(value), quote=True)


def _problem(problem: str) -> str:
    return f'<p class="warn">The run broke off: {text(problem)}</p>' if problem else ""
