"""Progress of a run: bars on a terminal, plain lines elsewhere."""

import sys
from typing import Any, Protocol, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

from ml_trainer_env.baselines.agent import BadDecision
from ml_trainer_env.baselines.episode import EpisodeResult, Result
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.session import Brief, EpisodeBrief, Reply

__all__ = ["BarProgress", "LineProgress", "Lines", "Progress", "TuningLines", "begin_line", "progress_for"]


class Lines(Protocol):
    """What is shown of the episodes of a game.

    Attributes:
        unit: What a bar counts.
    """

    unit: str

    def total(self, brief: Any) -> float:
        """Return the length of the bar."""

    def spent(self, reply: Reply) -> float:
        """Return where the bar stands after a reply."""

    def advanced(self, spent: float, done: int) -> float:
        """Return where the bar stands when the running call has done some epochs or steps."""

    def begin(self, brief: Any) -> str:
        """Write the first line of an episode."""

    def figures(self, reply: Reply) -> str:
        """Write the metrics of a reply in a few words."""

    def end(self, result: Any) -> str:
        """Write the last line of an episode."""


class TuningLines:
    """What is shown of the episodes of the tuning game."""

    unit = "epoch"

    def total(self, brief: Brief) -> float:
        """Return the budget of epochs."""
        return brief.budget_epochs

    def spent(self, reply: Reply) -> float:
        """Return the epochs spent."""
        return int(reply.get("current_epoch") or 0)

    def advanced(self, spent: float, done: int) -> float:
        """Return the epochs spent when the running call has finished some."""
        return spent + done

    def begin(self, brief: Brief) -> str:
        """Write the task."""
        return begin_line(brief)

    def figures(self, reply: Reply) -> str:
        """Write the metrics of a reply."""
        return figures(reply)

    def end(self, result: EpisodeResult) -> str:
        """Write the result."""
        return end_line(result)


_TUNING = TuningLines()


class Progress(Protocol):
    """Shows the progress of a run."""

    def note(self, text: str) -> None:
        """Show a message."""

    def begin(self, brief: EpisodeBrief) -> None:
        """Show that an episode begins."""

    def training(self, epochs: int, total: int, message: str) -> None:
        """Show the epochs that the running call has finished. Called from another thread."""

    def turn(self, turn: Turn) -> None:
        """Show a decision and its outcome."""

    def end(self, result: Result) -> None:
        """Show the result of the episode."""

    def close(self) -> None:
        """Close the display. Called at the end of a run, also after an error."""


class LineProgress:
    """Prints one line for each event.

    Args:
        out: Output stream; standard output if None.
        lines: What is shown of an episode.
    """

    def __init__(self, out: TextIO | None = None, lines: Lines = _TUNING) -> None:
        self._out = out or sys.stdout
        self._lines = lines

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)

    def begin(self, brief: EpisodeBrief) -> None:
        """Print the task."""
        self.note(self._lines.begin(brief))

    def training(self, epochs: int, total: int, message: str) -> None:
        """Print nothing. A line follows when the call has finished."""

    def turn(self, turn: Turn) -> None:
        """Print the decision and its metrics."""
        self.note(f"  {turn_line(turn, self._lines)}")

    def end(self, result: Result) -> None:
        """Print the result."""
        self.note(f"  {self._lines.end(result)}")

    def close(self) -> None:
        """Do nothing."""


class BarProgress(LineProgress):
    """Shows a bar for the budget, and the lines of the decisions above it.

    Args:
        out: A terminal; standard output if None.
        lines: What is shown of an episode.
    """

    def __init__(self, out: TextIO | None = None, lines: Lines = _TUNING) -> None:
        super().__init__(out, lines)
        self._bar: Any = None
        self._spent = 0.0

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(text, file=self._out)

    def begin(self, brief: EpisodeBrief) -> None:
        """Open a bar."""
        super().begin(brief)
        self._spent = self._lines.spent(brief.status)
        total, unit = self._lines.total(brief), self._lines.unit
        self._bar = tqdm(total=total, initial=self._spent, desc=brief.task_id, unit=unit, file=self._out)

    def training(self, epochs: int, total: int, message: str) -> None:
        """Move the bar by the epochs of the running call."""
        self._move_to(self._lines.advanced(self._spent, epochs))

    def turn(self, turn: Turn) -> None:
        """Print the decision and move the bar to what is spent."""
        super().turn(turn)
        reply = turn.outcome.reply
        if reply is not None:
            self._spent = self._lines.spent(reply)
            self._move_to(self._spent)

    def end(self, result: Result) -> None:
        """Close the bar and print the result."""
        self.close()
        super().end(result)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _move_to(self, place: float) -> None:
        if self._bar is not None and place != self._bar.n:
            self._bar.n = place
            self._bar.refresh()


def progress_for(out: TextIO, lines: Lines = _TUNING) -> Progress:
    """Choose bars if `out` is a terminal, otherwise lines."""
    return BarProgress(out, lines) if out.isatty() else LineProgress(out, lines)


def begin_line(brief: Brief) -> str:
    """Write the first line of an episode. It says if the images are synthetic."""
    data = brief.dataset
    source = "SYNTHETIC stand-in images" if data.source == "synthetic" else data.source
    seconds = "" if brief.budget_seconds is None else f" and {brief.budget_seconds:g} s"
    return (
        f"{brief.task_id}: {brief.network} ({brief.parameter_count:,} parameters) on "
        f"{data.name} ({source}), {brief.budget_epochs} epochs{seconds}, "
        f"seed {brief.seed}, rubric {brief.rubric}"
    )


def turn_line(turn: Turn, lines: Lines) -> str:
    """Write a line with a decision and its outcome."""
    decision, reply = turn.decision, turn.outcome.reply
    if isinstance(decision, BadDecision):
        return f"[{turn.number}] not a call: {turn.outcome.refusal}"
    arguments = ", ".join(f"{name}={value}" for name, value in decision.arguments.items())
    said = f"refused: {turn.outcome.refusal}" if reply is None else lines.figures(reply)
    return f"[{turn.number}] {decision.name}({arguments}) {said}"


def end_line(result: EpisodeResult) -> str:
    """Write the last line of an episode."""
    score = "no score" if result.score is None else f"score {result.score:.4f}"
    if not result.played_to_end:
        score = f"closed by the program: counts 0 ({score})"
    return (
        f"{result.task_id}: {score}, best val accuracy {percent(result.best_val_accuracy)}, "
        f"test accuracy {percent(result.test_accuracy)}, reward {result.reward:.3f}, "
        f"{result.epochs_run} epochs, {result.seconds:.1f} s"
    )


def figures(reply: Reply) -> str:
    """Write the metrics of a reply in a few words."""
    return (
        f"epoch {reply.get('current_epoch')}/{reply.get('max_epochs')} "
        f"val {percent(reply.get('val_accuracy'))} "
        f"best {percent(reply.get('best_val_accuracy'))} "
        f"{reply.get('convergence_signal')}"
    )


def percent(share: object) -> str:
    """Format a share as a percentage; `-` if it is missing."""
    return f"{100 * share:.2f}%" if isinstance(share, int | float) else "-"
