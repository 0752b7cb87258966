"""What the console and the log say of an episode of the fleet."""

from collections.abc import Sequence

from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.fleet.episode import FleetResult, summarise
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.session import Reply

__all__ = ["FleetLines", "FleetSummary"]

_STEP_S = 1.15
"""About the virtual time of a step."""


class FleetLines:
    """What is shown of an episode; see `baselines.progress.Lines`. The bar counts virtual seconds."""

    unit = "s"

    def total(self, brief: FleetBrief) -> float:
        """Return the reservation."""
        return brief.reservation_s

    def spent(self, reply: Reply) -> float:
        """Return the virtual time."""
        return float(reply["clock_s"])

    def advanced(self, spent: float, done: int) -> float:
        """Return about the virtual time when the running call has taken some steps."""
        return round(spent + _STEP_S * done, 1)

    def begin(self, brief: FleetBrief) -> str:
        """Write the task."""
        nodes, spares = len(brief.status["nodes"]), len(brief.status["spares"])
        return (
            f"{brief.task_id}: {brief.name}, {nodes} nodes and {spares} spares reserved for "
            f"{brief.reservation_s:g} s, seed {brief.seed}, rubric {brief.rubric}"
        )

    def figures(self, reply: Reply) -> str:
        """Write where the run stands."""
        loss = "-" if reply["loss"] is None else f"{reply['loss']:.4g}"
        stalled = ", stalled" if reply["is_stalled"] else ""
        return f"step {reply['step']} t={reply['clock_s']:g} s loss {loss}, {reply['restarts']} restarts{stalled}"

    def end(self, result: FleetResult) -> str:
        """Write the result."""
        score = "no score" if result.score is None else f"score {result.score:.4f}"
        if not result.played_to_end:
            score = f"closed by the program: counts 0 ({score})"
        loss = "-" if result.held_out_loss is None else f"{result.held_out_loss:.4f}"
        truth = ", ".join(result.incidents) or "-"
        return (
            f"{result.task_id}: {score}, held-out loss {loss}, {result.steps} steps, {result.restarts} restarts, "
            f"what went wrong: {truth}; reward {result.reward:.3f}, {result.seconds:.1f} s"
        )


class FleetSummary:
    """How an episode is summarised; see `baselines.run.Summary`."""

    def fields_of(self, brief: FleetBrief) -> dict[str, object]:
        """Return the reservation."""
        return {"reservation_s": brief.reservation_s}

    def summarise(
        self, agent: str, brief: FleetBrief, turns: Sequence[Turn], *, seconds: float, tokens: int
    ) -> FleetResult:
        """Create the result of an episode."""
        return summarise(agent, brief, turns, seconds=seconds, tokens=tokens)
