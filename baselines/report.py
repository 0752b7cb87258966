"""Writes a run as one HTML page that contains its styles and charts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.charts import Line, Mark, line_chart
from ml_trainer_env.baselines.episode import CallRecord, EpisodeResult
from ml_trainer_env.baselines.page import cell, closed_note, fixed, page, pairs, score, text

__all__ = ["CHANGES", "report_html"]

CHANGES = frozenset(("configure_training", "adjust_learning_rate", "toggle_augmentation", "restore_checkpoint"))
"""The calls that a chart marks: they change what is trained."""

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


def report_html(run: Mapping[str, Any], episodes: Sequence[EpisodeResult]) -> str:
    """Write the page.

    Args:
        run: `run`, `agent`, `started`, `seconds`, `problem`, `mean_score`, as in `results.json`.
        episodes: Its episodes.

    Returns:
        HTML. All text is escaped.
    """
    rows = "".join(map(_row, episodes))
    sections = "".join(_section(number, episode) for number, episode in enumerate(episodes, start=1))
    return page(run, (closed_note(episodes), _stand_in_note(episodes)), _COLUMNS, rows, sections)


def _stand_in_note(episodes: Iterable[EpisodeResult]) -> str:
    tasks = sorted({one.task_id for one in episodes if one.data_source == "synthetic"})
    if not tasks:
        return ""
    return (
        f'<p class="warn">{text(", ".join(tasks))}: trained on synthetic stand-in images, '
        "because the real data set was not to be had. Do not compare these figures with "
        "published ones.</p>"
    )


def _row(result: EpisodeResult) -> str:
    source = text(result.data_source)
    if result.data_source == "synthetic":
        source = f'<span class="warn">{source}</span>'
    cells = (
        cell(text(result.task_id)),
        cell(text(result.agent)),
        cell(text(result.seed), "number"),
        cell(f"{text(result.dataset)}, {source}"),
        cell(f"{result.epochs_run} / {result.budget_epochs}", "number"),
        cell(fixed(result.best_val_accuracy, 4), "number"),
        cell(fixed(result.test_accuracy, 4), "number"),
        cell(score(result), "number"),
        cell(fixed(result.reward, 3), "number"),
        cell(fixed(result.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _section(number: int, result: EpisodeResult) -> str:
    title = f"{number}. {result.task_id}, seed {result.seed}"
    tokens = f", {result.tokens:,} tokens" if result.tokens else ""
    return f"""<section>
<h2>{text(title)}</h2>
<p>{text(result.task_name)}: {text(result.network)}, {result.parameter_count:,} parameters.
Rubric {text(result.rubric)}{tokens}.
{_target(result)}</p>
{_chart(result, "loss")}{_chart(result, "accuracy")}
{pairs("Grade", result.details)}
{pairs("Settings at the end", result.configuration)}
<details open><summary>{len(result.calls)} decisions</summary>
<div class="scroll" tabindex="0" role="group" aria-label="Decisions of episode {number}"><table>
<thead><tr><th>#</th><th>Call</th><th>Why</th><th>Answer</th><th>Epoch</th><th>Reward</th>
<th>Seconds</th></tr></thead>
<tbody>{"".join(_call_row(call) for call in result.calls)}</tbody></table></div></details>
</section>
"""


def _chart(result: EpisodeResult, what: str) -> str:
    """Draw the loss or the accuracy by epoch, with the calls that changed a setting as marks."""
    lines = [
        Line(name, [(point.epoch, getattr(point, f"{part}_{what}")) for point in result.curve])
        for part, name in (("val", "validation"), ("train", "train"))
    ]
    marks = [
        Mark(call.epoch + 0.5, f"after epoch {call.epoch}: {call.name}({_given(call)})")
        for call in result.calls
        if call.name in CHANGES and not call.refused and call.epoch
    ]
    has_target = what == "accuracy" and "accuracy" in result.target_metric
    level = ("target", result.target_value) if has_target else None
    return line_chart(f"{what.capitalize()} by epoch", "epoch", lines, marks=marks, level=level)


def _target(result: EpisodeResult) -> str:
    figure = result.test_accuracy if result.target_metric == "test_accuracy" else result.best_val_accuracy
    reached = figure is not None and figure >= result.target_value
    mark = "good" if reached else "soft"
    target = f"{result.target_metric} {result.target_value}"
    said = "reached" if reached else "not reached"
    return f'<span class="{mark}">Target {text(target)}: {said}.</span>'


def _call_row(call: CallRecord) -> str:
    by = ' <span class="soft">(made for the agent)</span>' if call.author == "closing" else ""
    answer = text(call.answer)
    cells = (
        cell(text(call.number), "number"),
        cell(f"<code>{text(call.name)}({text(_given(call))})</code>{by}", "text"),
        cell(text(call.reason), "text"),
        cell(f'<span class="warn">{answer}</span>' if call.refused else answer, "text"),
        cell(text("" if call.epoch is None else call.epoch), "number"),
        cell(fixed(call.reward, 3), "number"),
        cell(fixed(call.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _given(call: CallRecord) -> str:
    return ", ".join(f"{name}={value}" for name, value in call.arguments.items())
