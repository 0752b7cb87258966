"""The HTML report of a run on the fleet."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.fleet.episode import FleetCall, FleetResult
from ml_trainer_env.baselines.page import cell, closed_note, fixed, page, pairs, score, text

__all__ = ["FleetReport"]

_COLUMNS = ("Task", "Agent", "Seed", "Steps", "Restarts", "Loss", "Nothing", "Clean", "Score", "Reward", "Seconds")
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

    def page(self, run: Mapping[str, Any], episodes: Sequence[tuple[FleetResult, bytes]]) -> str:
        """Write a run as HTML."""
        played = [episode for episode, _ in episodes]
        sections = "".join(_section(number, *episode) for number, episode in enumerate(episodes, start=1))
        return page(run, (closed_note(played),), _COLUMNS, "".join(map(_row, played)), sections)


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


def _section(number: int, result: FleetResult, png: bytes) -> str:
    picture = base64.b64encode(png).decode("ascii")
    title = f"{number}. {result.task_id}, seed {result.seed}"
    tokens = f", {result.tokens:,} tokens" if result.tokens else ""
    looks = sum(call.name in _LOOKS for call in result.calls)
    shown = [call for call in result.calls if call.name not in _LOOKS]
    return f"""<section>
<h2>{text(title)}</h2>
<p>{text(result.task_name)}. Rubric {text(result.rubric)}{tokens}. What went wrong:
{text(", ".join(result.incidents) or "not told")}.</p>
<img alt="Training loss by virtual time of {text(result.task_id)}"
 src="data:image/png;base64,{picture}">
{pairs("Losses", result.details)}
{"".join(pairs("Fault", fault) for fault in result.faults)}
{"".join(pairs("Report", report) for report in result.reports)}
<details open><summary>{len(shown)} decisions, and {looks} free looks that are not listed</summary>
<div class="scroll"><table>
<thead><tr><th>#</th><th>Call</th><th>Why</th><th>Answer</th><th>Time</th><th>Step</th><th>Reward</th>
<th>Seconds</th></tr></thead>
<tbody>{"".join(map(_call_row, shown))}</tbody></table></div></details>
</section>
"""


def _call_row(call: FleetCall) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in call.arguments.items())
    by = ' <span class="soft">(made for the agent)</span>' if call.author == "closing" else ""
    answer = text(call.answer)
    cells = (
        cell(text(call.number), "number"),
        cell(f"<code>{text(call.name)}({text(arguments)})</code>{by}", "text"),
        cell(text(call.reason), "text"),
        cell(f'<span class="warn">{answer}</span>' if call.refused else answer, "text"),
        cell(fixed(call.clock_s, 1), "number"),
        cell(text("" if call.step is None else call.step), "number"),
        cell(fixed(call.reward, 3), "number"),
        cell(fixed(call.seconds, 1), "number"),
    )
    return f"<tr>{''.join(cells)}</tr>"
