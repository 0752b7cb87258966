"""Progress of a run: bars on a terminal, plain lines elsewhere."""

import sys
from typing import Any, Protocol, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

from ml_trainer_env.baselines.agent import BadDecision
from ml_trainer_env.baselines.episode import EpisodeResult
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.session import Brief, Reply

__all__ = ["BarProgress", "LineProgress", "Progress", "begin_line", "progress_for"]


class Progress(Protocol):
    """Shows the progress of a run."""

    def note(self, text: str) -> None:
        """Show a message."""

    def begin(self, brief: Brief) -> None:
        """Show that an episode begins."""

    def training(self, epochs: int, total: int, message: str) -> None:
        """Show the epochs that the running call has finished. Called from another thread."""

    def turn(self, turn: Turn) -> None:
        """Show a decision and its outcome."""

    def end(self, result: EpisodeResult) -> None:
        """Show the result of the episode."""

    def close(self) -> None:
        """Close the display. Called at the end of a run, also after an error."""


class LineProgress:
    """Prints one line for each event.

    Args:
        out: Output stream; standard output if None.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)

    def begin(self, brief: Brief) -> None:
        """Print the task."""
        self.note(begin_line(brief))

    def training(self, epochs: int, total: int, message: str) -> None:
        """Print nothing. A line follows when the call has finished."""

    def turn(self, turn: Turn) -> None:
        """Print the decision and its metrics."""
        self.note(f"  {turn_line(turn)}")

    def end(self, result: EpisodeResult) -> None:
        """Print the result."""
        self.note(f"  {end_line(result)}")

    def close(self) -> None:
        """Do nothing."""


class BarProgress(LineProgress):
    """Shows a bar for the epoch budget, and the lines of the decisions above it.

    Args:
        out: A terminal; standard output if None.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        super().__init__(out)
        self._bar: Any = None
        self._spent = 0

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(text, file=self._out)

    def begin(self, brief: Brief) -> None:
        """Open a bar."""
        super().begin(brief)
        self._spent = int(brief.status.get("current_epoch") or 0)
        self._bar = tqdm(
            total=brief.budget_epochs, initial=self._spent, desc=brief.task_id, unit="epoch", file=self._out
        )

    def training(self, epochs: int, total: int, message: str) -> None:
        """Move the bar by the epochs of the running call."""
        self._move_to(self._spent + epochs)

    def turn(self, turn: Turn) -> None:
        """Print the decision and move the bar to the epochs spent."""
        super().turn(turn)
        reply = turn.outcome.reply
        if reply is not None:
            self._spent = int(reply.get("current_epoch") or 0)
            self._move_to(self._spent)

    def end(self, result: EpisodeResult) -> None:
        """Close the bar and print the result."""
        self.close()
        super().end(result)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _move_to(self, epoch: int) -> None:
        if self._bar is not None and epoch != self._bar.n:
            self._bar.n = epoch
            self._bar.refresh()


def progress_for(out: TextIO) -> Progress:
    """Choose bars if `out` is a terminal, otherwise lines."""
    return BarProgress(out) if out.isatty() else LineProgress(out)


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


def turn_line(turn: Turn) -> str:
    """Write a line with a decision and its outcome."""
    decision, reply = turn.decision, turn.outcome.reply
    if isinstance(decision, BadDecision):
        return f"[{turn.number}] not a call: {turn.outcome.refusal}"
    arguments = ", ".join(f"{name}={value}" for name, value in decision.arguments.items())
    said = f"refused: {turn.outcome.refusal}" if reply is None else figures(reply)
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
