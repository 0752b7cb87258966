"""The HTML report of a run on the fleet."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.charts import Line, Mark, line_chart
from ml_trainer_env.baselines.fleet.episode import FleetCall, FleetResult
from ml_trainer_env.baselines.fleet.moments import ACTIONS, begin_times
from ml_trainer_env.baselines.page import cell, closed_note, fixed, page, pairs, score, text

__all__ = ["FleetReport"]

_COLUMNS = ("Task", "Agent", "Seed", "Steps", "Restarts", "Loss", "Nothing", "Clean", "Score", "Reward", "Seconds")
_ACTION, _FAULT = 2, 5
"""Numbers of the colours of marks."""
_LOOKS = frozenset(("query_metrics", "read_log", "list_checkpoints", "get_training_status"))


class FleetReport:
    """How episodes are drawn and shown; see `baselines.results.Report`."""

    def read(self, given: Mapping[str, Any]) -> FleetResult:
        """Read the result of an episode from JSON."""
        return FleetResult.from_dict(given)

    def picture(self, result: FleetResult) -> bytes:
        """Draw the training loss over virtual time."""
        from ml_trainer_env.baselines.fleet.curves import loss_png  # late: matplotlib takes a second to import

        return loss_png(result)

    def page(self, run: Mapping[str, Any], episodes: Sequence[FleetResult]) -> str:
        """Write a run as HTML."""
        sections = "".join(_section(number, episode) for number, episode in enumerate(episodes, start=1))
        return page(run, (closed_note(episodes),), _COLUMNS, "".join(map(_row, episodes)), sections)


def _row(result: FleetResult) -> str:
    cells = (
        cell(text(result.task_id)),
        cell(text(result.agent)),
        cell(text(result.seed), "number"),
        cell(text(result.steps), "number"),
        cell(text(result.restarts), "number"),
        cell(fixed(result.held_out_loss, 4), "number"),
        cell(fixed(result.nothing_loss, 4), "number"),
        cell(fixed(result.clean_loss, 4), "number"),
        cell(score(result), "number"),
        cell(fixed(result.reward, 3), "number"),
        cell(fixed(result.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _section(number: int, result: FleetResult) -> str:
    title = f"{number}. {result.task_id}, seed {result.seed}"
    tokens = f", {result.tokens:,} tokens" if result.tokens else ""
    looks = sum(call.name in _LOOKS for call in result.calls)
    shown = [call for call in result.calls if call.name not in _LOOKS]
    return f"""<section>
<h2>{text(title)}</h2>
<p>{text(result.task_name)}. Rubric {text(result.rubric)}{tokens}. What went wrong:
{text(", ".join(result.incidents) or "not told")}.</p>
{_chart(result)}
{pairs("Losses", result.details)}
{"".join(pairs("Fault", fault) for fault in result.faults)}
{"".join(pairs("Report", report) for report in result.reports)}
<details open><summary>{len(shown)} decisions, and {looks} free looks that are not listed</summary>
<div class="scroll" tabindex="0" role="group" aria-label="Decisions of episode {number}"><table>
<thead><tr><th>#</th><th>Call</th><th>Why</th><th>Answer</th><th>Time</th><th>Step</th><th>Reward</th>
<th>Seconds</th></tr></thead>
<tbody>{"".join(map(_call_row, shown))}</tbody></table></div></details>
</section>
"""


def _chart(result: FleetResult) -> str:
    """Draw the training loss over virtual time, with what happened, what was done, and what had gone wrong."""
    loss = Line("training loss", [(point.clock_s, point.loss) for point in result.curve])
    marks = [Mark(event.clock_s, f"{event.clock_s:.0f} s: {event.text}") for event in result.events]
    marks += [
        Mark(call.clock_s, f"{call.clock_s:.0f} s: {call.name}({_given(call)})", _ACTION)
        for call in result.calls
        if call.name in ACTIONS and not call.refused and call.clock_s is not None
    ]
    marks += [
        Mark(moment, f"{moment:.0f} s: {kind.replace('_', ' ')}, as the end told", _FAULT)
        for moment, kind in begin_times(result.faults)
    ]
    return line_chart("Training loss by virtual time", "second", [loss], marks=marks, x_end=result.reservation_s)


def _given(call: FleetCall) -> str:
    return ", ".join(f"{name}={value}" for name, value in call.arguments.items())


def _call_row(call: FleetCall) -> str:
    by = ' <span class="soft">(made for the agent)</span>' if call.author == "closing" else ""
    answer = text(call.answer)
    cells = (
        cell(text(call.number), "number"),
        cell(f"<code>{text(call.name)}({text(_given(call))})</code>{by}", "text"),
        cell(text(call.reason), "text"),
        cell(f'<span class="warn">{answer}</span>' if call.refused else answer, "text"),
        cell(fixed(call.clock_s, 1), "number"),
        cell(text("" if call.step is None else call.step), "number"),
        cell(fixed(call.reward, 3), "number"),
        cell(fixed(call.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"
