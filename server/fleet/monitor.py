"""What an agent sees of a run: its status, and what monitoring has recorded of its steps by now."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ml_trainer_env.fleet_models import FleetStatus
from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.fleet.logs import last_lines, log_lines
from ml_trainer_env.server.fleet.rows import StepRow, shown
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS
from ml_trainer_env.server.trainer.fleet.settings import RESERVATION_US

__all__ = ["Monitor"]

_RECENT_STEPS = 10
"""The recent loss is the mean of so many steps."""

_SHOWN_NOTICES = 3


@dataclass(frozen=True, slots=True)
class Monitor:
    """Monitoring of a run.

    Attributes:
        run: The run.
        delay_us: It shows steps only after this virtual time, in microseconds. Logs and events are not late.
    """

    run: FleetRun
    delay_us: int

    def seen(self, rows: Sequence[StepRow]) -> Sequence[StepRow]:
        """Return those of some steps that it shows by now."""
        return [row for row in rows if self._is_seen(row.now_us)] if self.delay_us else rows

    @property
    def shown_units(self) -> int:
        """Number of the first units of work that it shows by now."""
        units = self.run.units
        if not self.delay_us:
            return len(units)
        ends = [end for end, unit in enumerate(units, 1) if unit.figures["stopped"] is None]
        return ([0, *ends])[len(self.seen(self.run.rows))]

    def recent_loss(self) -> float | None:
        """Return the mean loss of the last steps that it shows, each at most `CHANCE_LOSS`. None before the first."""
        losses = [row.number("loss") for row in self.seen(self.run.rows)[-_RECENT_STEPS:]]
        if not losses:
            return None
        return statistics.fmean(min(loss, CHANCE_LOSS) if math.isfinite(loss) else CHANCE_LOSS for loss in losses)

    def progress(self) -> str:
        """Return where the run stands, in words."""
        run = self.run
        if run.stalled_us is not None:
            waited = (run.now_us - run.stalled_us) / 1e6
            return f"Step {run.step} has not ended for {waited:.0f} s."
        return f"Step {run.step}."

    def log(self, rank: int, count: int) -> list[str]:
        """Return the last lines of a rank's log."""
        run = self.run
        lines = log_lines(rank, run.seed, self.seen(run.rows), run.events, run.scenario.notices, run.now_us)
        return last_lines(lines, count)

    def checkpoints(self) -> list[Reply]:
        """Return the checkpoints, oldest first."""
        return [
            {
                "id": one.id,
                "step": one.ref.position,
                "saved_s": None if one.saved_us is None else round(one.saved_us / 1e6, 1),
                "loss": None if one.loss is None or not self._is_seen(one.saved_us or 0) else shown(one.loss),
            }
            for one in self.run.checkpoints
        ]

    def status(self) -> FleetStatus:
        """Return where the run stands."""
        run = self.run
        rows = self.seen(run.rows)
        last = rows[-1] if rows else None
        notices = [one for one in run.scenario.notices if one.clock_us <= run.now_us]
        return FleetStatus(
            step=run.step,
            clock_s=round(run.now_us / 1e6, 1),
            reservation_s=RESERVATION_US / 1e6,
            left_s=round(max(0, RESERVATION_US - run.now_us) / 1e6, 1),
            loss=None if last is None else shown(last.number("loss")),
            grad_norm=None if last is None else shown(last.number("gradient_norm")),
            step_s=None if last is None else shown(last.times.step_us / 1e6),
            learning_rate=None if last is None else shown(last.number("learning_rate")),
            restarts=run.cluster.incarnation,
            is_stalled=run.stalled_us is not None,
            nodes=list(run.cluster.nodes),
            spares=list(run.spares),
            drained=list(run.drained),
            quarantined=list(run.cluster.quarantined),
            mirrored=list(run.cluster.mirrored),
            newest_checkpoint=run.newest.id,
            settings=_settings(run),
            notices=[f"[t={one.clock_us / 1e6:.0f}] {one.text}" for one in notices][-_SHOWN_NOTICES:],
        )

    def _is_seen(self, moment_us: int) -> bool:
        return moment_us <= self.run.now_us - self.delay_us


def _settings(run: FleetRun) -> dict[str, float | bool]:
    training = run.training
    return {
        "learning_rate": training.learning_rate,
        "clip_norm": training.clip_norm,
        "skip_nonfinite": training.skip_nonfinite,
        "dynamic_loss_scale": training.dynamic_loss_scale,
        "checkpoint_every": training.checkpoint_every,
        "sampler_offset": training.sampler_offset,
        "record_activations": training.record_activations,
    }
