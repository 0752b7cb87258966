"""Writes a run as one HTML page that contains its styles and pictures."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ml_trainer_env.baselines.episode import CallRecord, EpisodeResult

__all__ = ["report_html"]

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --card: #f6f8fa;
  --good: #1a7f37; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #8b949e;
  --card: #161b22; --good: #3fb950; --warn: #d29922; } }
* { box-sizing: border-box; }
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
td.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
td.text { min-width: 14rem; overflow-wrap: anywhere; }
img { height: auto; max-width: 100%; }
code { font-size: .9em; overflow-wrap: anywhere; }
summary { cursor: pointer; margin-top: .75rem; }
"""

_COLUMNS = (
    "Task",
    "Agent",
    "Seed",
    "Data",
    "Epochs",
    "Best val",
    "Test",
    "Score",
    "Reward",
    "Seconds",
)


def report_html(run: Mapping[str, Any], episodes: Sequence[tuple[EpisodeResult, bytes]]) -> str:
    """Write the page.

    Args:
        run: `run`, `agent`, `started`, `seconds`, `problem`, `mean_score`, as in `results.json`.
        episodes: Episodes, each with its curves as a PNG.

    Returns:
        HTML. All text is escaped.
    """
    rows = "".join(_row(episode) for episode, _ in episodes)
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    sections = "".join(_section(number, episode, png) for number, (episode, png) in enumerate(episodes, start=1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(run["run"])}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>ML Training Optimizer: {_text(run["agent"])}</h1>
<p class="soft">Run {_text(run["run"])}, started {_text(run["started"])},
{_fixed(run["seconds"], 1)} s. Mean score {_fixed(run["mean_score"], 4)}.</p>
{_problem(str(run["problem"]))}
{_closed_note([episode for episode, _ in episodes])}
{_stand_in_note(episode for episode, _ in episodes)}
<section class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></section>
{sections}
</body>
</html>
"""


def _problem(problem: str) -> str:
    return f'<p class="warn">The run broke off: {_text(problem)}</p>' if problem else ""


def _closed_note(episodes: Sequence[EpisodeResult]) -> str:
    closed = sum(not episode.played_to_end for episode in episodes)
    if not closed:
        return ""
    return (
        f'<p class="warn">{closed} of {len(episodes)} episodes were not played to the end: the agent stopped, or had '
        "no decisions left, and the program made the closing calls. They count 0 in the mean score.</p>"
    )


def _stand_in_note(episodes: Iterable[EpisodeResult]) -> str:
    tasks = sorted({one.task_id for one in episodes if one.data_source == "synthetic"})
    if not tasks:
        return ""
    return (
        f'<p class="warn">{_text(", ".join(tasks))}: trained on synthetic stand-in images, '
        "because the real data set was not to be had. Do not compare these figures with "
        "published ones.</p>"
    )


def _row(result: EpisodeResult) -> str:
    source = _text(result.data_source)
    if result.data_source == "synthetic":
        source = f'<span class="warn">{source}</span>'
    cells = (
        _cell(_text(result.task_id)),
        _cell(_text(result.agent)),
        _cell(_text(result.seed), "number"),
        _cell(f"{_text(result.dataset)}, {source}"),
        _cell(f"{result.epochs_run} / {result.budget_epochs}", "number"),
        _cell(_fixed(result.best_val_accuracy, 4), "number"),
        _cell(_fixed(result.test_accuracy, 4), "number"),
        _cell(_score(result), "number"),
        _cell(_fixed(result.reward, 3), "number"),
        _cell(_fixed(result.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _score(result: EpisodeResult) -> str:
    if result.played_to_end:
        return f"<strong>{_fixed(result.score, 4)}</strong>"
    return f'<span class="warn">closed by the program: counts 0</span> (graded {_fixed(result.score, 4)})'


def _section(number: int, result: EpisodeResult, png: bytes) -> str:
    picture = base64.b64encode(png).decode("ascii")
    title = f"{number}. {result.task_id}, seed {result.seed}"
    tokens = f", {result.tokens:,} tokens" if result.tokens else ""
    return f"""<section>
<h2>{_text(title)}</h2>
<p>{_text(result.task_name)}: {_text(result.network)}, {result.parameter_count:,} parameters.
Rubric {_text(result.rubric)}{tokens}.
{_target(result)}</p>
<img alt="Loss and accuracy by epoch of {_text(result.task_id)}"
 src="data:image/png;base64,{picture}">
{_pairs("Grade", result.details)}
{_pairs("Settings at the end", result.configuration)}
<details open><summary>{len(result.calls)} decisions</summary>
<div class="scroll"><table>
<thead><tr><th>#</th><th>Call</th><th>Why</th><th>Answer</th><th>Epoch</th><th>Reward</th>
<th>Seconds</th></tr></thead>
<tbody>{"".join(_call_row(call) for call in result.calls)}</tbody></table></div></details>
</section>
"""


def _target(result: EpisodeResult) -> str:
    figure = result.test_accuracy if result.target_metric == "test_accuracy" else result.best_val_accuracy
    reached = figure is not None and figure >= result.target_value
    mark = "good" if reached else "soft"
    target = f"{result.target_metric} {result.target_value}"
    said = "reached" if reached else "not reached"
    return f'<span class="{mark}">Target {_text(target)}: {said}.</span>'


def _pairs(title: str, pairs: Mapping[str, Any]) -> str:
    if not pairs:
        return ""
    listed = ", ".join(f"{_text(k)} <code>{_text(v)}</code>" for k, v in pairs.items())
    return f"<p><strong>{_text(title)}:</strong> {listed}</p>"


def _call_row(call: CallRecord) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in call.arguments.items())
    by = ' <span class="soft">(made for the agent)</span>' if call.author == "closing" else ""
    answer = _text(call.answer)
    cells = (
        _cell(_text(call.number), "number"),
        _cell(f"<code>{_text(call.name)}({_text(arguments)})</code>{by}", "text"),
        _cell(_text(call.reason), "text"),
        _cell(f'<span class="warn">{answer}</span>' if call.refused else answer, "text"),
        _cell(_text("" if call.epoch is None else call.epoch), "number"),
        _cell(_fixed(call.reward, 3), "number"),
        _cell(_fixed(call.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(html: str, kind: str = "") -> str:
    return f'<td class="{kind}">{html}</td>' if kind else f"<td>{html}</td>"


def _fixed(value: object, places: int) -> str:
    return f"{value:.{places}f}" if isinstance(value, int | float) else "-"


def _text(value: object) -> str:
    return escape(str(value), quote=True)
