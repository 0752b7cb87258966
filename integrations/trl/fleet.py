"""The fleet for `GRPOTrainer(environment_factory=FleetGame)`."""

from collections.abc import Mapping
from typing import Any, Literal

from ml_trainer_env.baselines.fleet.brief import brief_of
from ml_trainer_env.baselines.fleet.prompt import describe, tell
from ml_trainer_env.fleet_client import FleetEnv
from ml_trainer_env.fleet_models import FleetObservation
from ml_trainer_env.integrations.episode import DEFAULT_URL
from ml_trainer_env.integrations.trl.game import Game

__all__ = ["FleetGame"]


class FleetGame(Game):
    """An episode of the fleet. Its public methods are the server's tools; see `Game`.

    Args:
        base_url: URL of the server, with the path /fleet.
        token: Token of the server; None if it needs none.
    """

    def __init__(self, base_url: str = f"{DEFAULT_URL}/fleet", token: str | None = None) -> None:
        super().__init__(base_url, token, FleetEnv)

    def run_steps(
        self, num_steps: int, stop_on: Literal["nothing", "restart", "nonfinite", "spike"] | None = None
    ) -> str:
        """Let the job train for some steps. After a death it restarts by itself from the newest checkpoint.

        Args:
            num_steps: Steps to take, from 1 to 50. A step takes about 1.15 s of the reservation.
            stop_on: What ends the call early. nothing if left out.

        Returns:
            The state after the last step.
        """
        return self._call("run_steps", num_steps=num_steps, stop_on=stop_on)

    def query_metrics(
        self,
        metric: Literal[
            "loss",
            "grad_norm",
            "compute_s",
            "data_s",
            "wait_s",
            "step_s",
            "memory_gb",
            "skipped",
            "learning_rate",
            "loss_scale",
        ],
        by: Literal["total", "rank", "node", "shard"] | None = None,
        last: int | None = None,
        reduce: Literal["mean", "max", "last", "series"] | None = None,
    ) -> str:
        """Look at what monitoring recorded of the last steps. Free.

        Args:
            metric: What to look at.
            by: Grouping. total if left out.
            last: How many steps, from 1 to 200. 50 if left out.
            reduce: max comes with its step. series is for by=total, at most 40 points.

        Returns:
            The figures of each group, by its number.
        """
        return self._call("query_metrics", metric=metric, by=by, last=last, reduce=reduce)

    def read_log(self, rank: int, tail: int | None = None) -> str:
        """Read the last lines of a rank's log. Free.

        Args:
            rank: The rank, from 0 to 7.
            tail: How many lines, from 1 to 20. 10 if left out.

        Returns:
            The lines.
        """
        return self._call("read_log", rank=rank, tail=tail)

    def inspect(self, kind: Literal["node", "shard", "checkpoint", "replicas"], id: str | None = None) -> str:  # noqa: A002
        """Look closely. A node is tested (12 s), of a shard come statistics and a sample (3 s), of a checkpoint its
        contents and its loss on probe text (3 s), of replicas a checksum of each rank's weights (2 s).

        Args:
            kind: What to inspect.
            id: Number of the node or shard, or id of the checkpoint. Not for replicas.

        Returns:
            What was found.
        """
        return self._call("inspect", kind=kind, id=id)

    def restart(
        self,
        checkpoint: str,
        skip_from: int | None = None,
        skip_to: int | None = None,
        schedule_position: int | None = None,
        data_position: int | None = None,
        fresh_optimizer: bool | None = None,
    ) -> str:
        """Restart from a checkpoint, 20 s. Ranks are numbered anew. Time that is spent stays spent.

        Args:
            checkpoint: Its id, or newest.
            skip_from: First position in the data to leave out from now on.
            skip_to: The position after the last one to leave out.
            schedule_position: As the checkpoint tells if left out.
            data_position: As the checkpoint tells if left out.
            fresh_optimizer: Begin the optimizer's moments anew.

        Returns:
            The state after the restart.
        """
        return self._call(
            "restart",
            checkpoint=checkpoint,
            skip_from=skip_from,
            skip_to=skip_to,
            schedule_position=schedule_position,
            data_position=data_position,
            fresh_optimizer=fresh_optimizer,
        )

    def set_training(
        self,
        learning_rate: float | None = None,
        clip_norm: float | None = None,
        skip_nonfinite: bool | None = None,
        loss_scale: float | None = None,
        dynamic_loss_scale: bool | None = None,
        checkpoint_every: int | None = None,
        schedule_position: int | None = None,
        sampler_offset: bool | None = None,
        record_activations: bool | None = None,
    ) -> str:
        """Change settings from the next step on. What you leave out stays. Free.

        Args:
            learning_rate: Peak of the schedule, above 0, to 1.
            clip_norm: The gradient's norm is scaled down to this. 0 for no limit.
            skip_nonfinite: Leave out steps whose gradient is not finite.
            loss_scale: Factor of the loss where gradients are half precision.
            dynamic_loss_scale: Halve the loss scale after an overflow.
            checkpoint_every: Steps between two checkpoints.
            schedule_position: Steps since the warm-up began. It takes 80.
            sampler_offset: The sampler gives each rank batches of its own. Some loaders do so themselves.
            record_activations: Ranks record activations for a profile, from the next start of the job on.

        Returns:
            The state after the change.
        """
        return self._call(
            "set_training",
            learning_rate=learning_rate,
            clip_norm=clip_norm,
            skip_nonfinite=skip_nonfinite,
            loss_scale=loss_scale,
            dynamic_loss_scale=dynamic_loss_scale,
            checkpoint_every=checkpoint_every,
            schedule_position=schedule_position,
            sampler_offset=sampler_offset,
            record_activations=record_activations,
        )

    def set_node(self, node: int, action: Literal["replace", "drain", "restore"]) -> str:
        """Put a spare in the place of a node (40 s), go on without the node (10 s), or use it again (25 s).

        Args:
            node: The node.
            action: What to do.

        Returns:
            The state after the change.
        """
        return self._call("set_node", node=node, action=action)

    def set_shard(self, shard: int, action: Literal["quarantine", "mirror", "restore"]) -> str:
        """Leave a shard of the data out, read it from another place, or read it as at first. 5 s each.

        Args:
            shard: The shard.
            action: What to do.

        Returns:
            The state after the change.
        """
        return self._call("set_shard", shard=shard, action=action)

    def broadcast(self, from_rank: int) -> str:
        """Copy the weights of one rank to all ranks, 2 s.

        Args:
            from_rank: The rank whose weights are copied.

        Returns:
            The state after the change.
        """
        return self._call("broadcast", from_rank=from_rank)

    def report_incident(self, kind: str, target: str | None = None) -> str:
        """Note what you think is wrong. The end tells whether it is right. It is never paid. Free.

        Args:
            kind: What is wrong, in a word such as straggler.
            target: Number of the node, rank or shard.

        Returns:
            The state.
        """
        return self._call("report_incident", kind=kind, target=target)

    def list_checkpoints(self) -> str:
        """List the checkpoints that are kept, oldest first. Free.

        Returns:
            The checkpoints.
        """
        return self._call("list_checkpoints")

    def get_training_status(self) -> str:
        """Tell where the run stands. Free.

        Returns:
            The state.
        """
        return self._call("get_training_status")

    def submit_model(self) -> str:
        """Hand in the model as it is and end the episode.

        Returns:
            The score.
        """
        return self._call("submit_model")

    def _describe(self, observation: FleetObservation) -> str:
        return describe(brief_of(observation))

    def _tell(self, reply: Mapping[str, Any]) -> str:
        return tell(reply)
