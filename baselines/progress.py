"""What a run shows while it goes on: bars on a terminal, plain lines elsewhere."""

import sys
from typing import Any, Protocol, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

from ml_trainer_env.baselines.agent import BadDecision
from ml_trainer_env.baselines.episode import EpisodeResult
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.session import Brief, Reply

__all__ = ["BarProgress", "LineProgress", "Progress", "begin_line", "progress_for"]


class Progress(Protocol):
    """Watches a run."""

    def note(self, text: str) -> None:
        """Something to know, outside an episode or within."""

    def begin(self, brief: Brief) -> None:
        """An episode begins."""

    def training(self, epochs: int, total: int, message: str) -> None:
        """The call under way has run some of its epochs. Called from another thread, while the run waits."""

    def turn(self, turn: Turn) -> None:
        """A decision was answered."""

    def end(self, result: EpisodeResult) -> None:
        """The episode is over."""

    def close(self) -> None:
        """The run is over, or broke off."""


class LineProgress:
    """One plain line an event.

    Args:
        out: Where to.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)

    def begin(self, brief: Brief) -> None:
        """Print what is to be trained."""
        self.note(begin_line(brief))

    def training(self, epochs: int, total: int, message: str) -> None:
        """Print nothing: the line of the whole call follows."""

    def turn(self, turn: Turn) -> None:
        """Print the decision and its figures."""
        self.note(f"  {turn_line(turn)}")

    def end(self, result: EpisodeResult) -> None:
        """Print the result."""
        self.note(f"  {end_line(result)}")

    def close(self) -> None:
        """Nothing is open."""


class BarProgress(LineProgress):
    """A bar over the epoch budget that moves with each epoch, and above it the lines of the decisions.

    Args:
        out: A terminal.
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
        """Move the bar by the epochs of the call under way."""
        self._move_to(self._spent + epochs)

    def turn(self, turn: Turn) -> None:
        """Print the decision, and move the bar to the epochs spent."""
        super().turn(turn)
        reply = turn.outcome.reply
        if reply is not None:
            self._spent = int(reply.get("current_epoch") or 0)
            self._move_to(self._spent)

    def end(self, result: EpisodeResult) -> None:
        """Close the bar, and print the result."""
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
    """Bars if `out` is a terminal, lines otherwise."""
    return BarProgress(out) if out.isatty() else LineProgress(out)


def begin_line(brief: Brief) -> str:
    """An episode's first line. Says so where the images are a stand-in."""
    data = brief.dataset
    source = "SYNTHETIC stand-in images" if data.source == "synthetic" else data.source
    seconds = "" if brief.budget_seconds is None else f" and {brief.budget_seconds:g} s"
    return (
        f"{brief.task_id}: {brief.network} ({brief.parameter_count:,} parameters) on "
        f"{data.name} ({source}), {brief.budget_epochs} epochs{seconds}, "
        f"seed {brief.seed}, rubric {brief.rubric}"
    )


def turn_line(turn: Turn) -> str:
    """A decision and what came of it."""
    decision, reply = turn.decision, turn.outcome.reply
    if isinstance(decision, BadDecision):
        return f"[{turn.number}] not a call: {turn.outcome.refusal}"
    arguments = ", ".join(f"{name}={value}" for name, value in decision.arguments.items())
    said = f"refused: {turn.outcome.refusal}" if reply is None else figures(reply)
    return f"[{turn.number}] {decision.name}({arguments}) {said}"


def end_line(result: EpisodeResult) -> str:
    """An episode's last line."""
    score = "no score" if result.score is None else f"score {result.score:.4f}"
    if not result.played_to_end:
        score = f"closed by the program: counts 0 ({score})"
    return (
        f"{result.task_id}: {score}, best val accuracy {percent(result.best_val_accuracy)}, "
        f"test accuracy {percent(result.test_accuracy)}, reward {result.reward:.3f}, "
        f"{result.epochs_run} epochs, {result.seconds:.1f} s"
    )


def figures(reply: Reply) -> str:
    """Where training stands, in a few words."""
    return (
        f"epoch {reply.get('current_epoch')}/{reply.get('max_epochs')} "
        f"val {percent(reply.get('val_accuracy'))} "
        f"best {percent(reply.get('best_val_accuracy'))} "
        f"{reply.get('convergence_signal')}"
    )


def percent(share: object) -> str:
    """A share as a percentage, `-` where there is none."""
    return f"{100 * share:.2f}%" if isinstance(share, int | float) else "-"
