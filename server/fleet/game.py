"""The fleet as a game; see `episodes.game.Game`."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.fleet_models import FleetObservation, FleetState
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.game import About, BeginOptions, TimeLimits
from ml_trainer_env.server.episodes.tools import Toolbox
from ml_trainer_env.server.fleet.episode import RUBRIC, RULES_VERSION, FleetEpisode
from ml_trainer_env.server.fleet.plans import fleet_text
from ml_trainer_env.server.fleet.replies import TASK_SCHEMA
from ml_trainer_env.server.fleet.tasks import SPLITS, UnknownTaskError, count_tasks, find_task, task_at
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.trainer.fleet.settings import RESERVATION_US
from ml_trainer_env.server.trainer.limits import Limit, check_choice

__all__ = ["FleetGame"]

_INSTRUCTIONS = """\
A model trains on eight ranks. Watch the run, find what breaks, and put it right before the reservation is spent.

1. list_tasks shows the tasks; start_task begins one. Nothing tells what goes wrong, and in a quarter of the drawn
   tasks nothing does: there, whatever you do beyond letting the job run costs.
2. run_steps lets the job train. Time is virtual: steps and actions cost seconds of the reservation.
3. query_metrics, read_log, list_checkpoints and get_training_status are free. inspect looks closer and costs time.
4. restart, set_training, set_node, set_shard and broadcast act. Moving things tells causes apart: a fault may belong
   to a node, a rank, a shard, a position in the data, a checkpoint, a setting, or a moment.
5. When the reservation is spent, or when you call submit_model, the model is graded on text that it was not trained
   on, and the reply tells what had happened.

A call that is refused says why and changes nothing. Note the episode_id: after a lost connection, start_task with it
and resume=true goes on.
"""

ABOUT = About(
    name="ml_trainer_fleet",
    version="0.1.0",
    description=(
        "Keep a training run on eight ranks alive: watch its metrics and logs, find out what breaks, and put it right "
        "before the reservation is spent."
    ),
    instructions=_INSTRUCTIONS,
    prompt=(
        "You watch a training run on eight ranks by calling tools. Find out what goes wrong, if anything does, and "
        "put it right with as little lost time as possible."
    ),
)

_SEED = Limit(0, 2**63 - 1, whole=True)
_COST_S = 6.0


class FleetGame:
    """The fleet.

    Args:
        limits: Time limits of calls and steps.
    """

    about = ABOUT
    unit = "step"
    tools: Toolbox[Any] = TOOLS
    rubrics: tuple[str, ...] = (RUBRIC,)
    default_task = "fleet_straggler"
    splits: Sequence[str] = SPLITS
    reset_model = FleetObservation
    state_model = FleetState
    task_schema: Mapping[str, Any] = TASK_SCHEMA

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits

    def task_count(self, split: str) -> int:
        """Return the number of tasks of a split. 0 for an unknown split."""
        return count_tasks(split)

    def task_row(self, split: str, index: int) -> dict[str, Any]:
        """Return a row of the task table.

        Raises:
            IndexError: The split has no task with this index.
        """
        task = task_at(split, index)
        return {
            "id": task.id,
            "split": task.split,
            "index": task.index,
            "name": task.name,
            "description": task.description,
            "difficulty": task.difficulty,
            "group": task.group,
            "cost_s": _COST_S,
            "reservation_s": RESERVATION_US / 1e6,
        }

    def knows_task(self, task: str) -> bool:
        """Whether the game has a task of this id."""
        try:
            find_task(task)
        except UnknownTaskError:
            return False
        return True

    async def begin(self, task: object, seed: object, options: BeginOptions) -> FleetEpisode:
        """Begin an episode.

        Raises:
            ResetError: The task, rubric, seed, text or rules do not exist here.
        """
        try:
            found = find_task(self.default_task if task is None else task)
        except UnknownTaskError as error:
            raise ResetError(str(error)) from error
        if options.rubric is not None:
            check_choice("rubric", options.rubric, self.rubrics)
        if options.data is not None and options.data != fleet_text().key:
            raise ResetError("the episode was played on another text than this version has")
        if options.rules not in {None, RULES_VERSION}:
            raise ResetError(
                f"episode {options.name!r} was begun under rules {options.rules}: a newer version is needed"
            )
        return FleetEpisode(
            name=options.name,
            task=found,
            seed=found.seed if seed is None else int(_SEED.check("seed", seed)),
            source=options.source,
            limits=self._limits,
        )
