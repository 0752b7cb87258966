"""The tuning game: an agent trains one model on a budget of epochs and submits it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ml_trainer_env.models import MLTrainerState, ResetObservation
from ml_trainer_env.server.datasets import (
    DataSettings,
    ExampleDraw,
    ImageRequest,
    TaskExamples,
    draw_examples,
    load_images,
)
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.game import About, BeginOptions, TimeLimits
from ml_trainer_env.server.episodes.tools import Toolbox
from ml_trainer_env.server.trainer.limits import Limit, check_choice
from ml_trainer_env.server.tuning.catalogue import SPLITS, count_tasks, find_task, task_at
from ml_trainer_env.server.tuning.descriptions import task_row
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.families.ranked import RANKED, RankedTasks
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.named_references import with_named_reference
from ml_trainer_env.server.tuning.replies import TASK_SCHEMA
from ml_trainer_env.server.tuning.rules import CURRENT_RULES, RULES, Rules
from ml_trainer_env.server.tuning.tasks import Task, UnknownTaskError
from ml_trainer_env.server.tuning.tools import TOOLS

__all__ = ["TuningGame"]

INSTRUCTIONS = """\
Train a real PyTorch model well on a budget of epochs, and with permuted_mnist of seconds of training too. What is spent
never comes back.

1. list_tasks shows the tasks; start_task begins one and tells its budget and target.
2. configure_training sets optimizer, learning rate, schedule and regularisation; what you leave out stays.
3. run_epochs trains, 1 to 20 epochs a call. Read val_accuracy, the gap to train_accuracy and convergence_signal,
   or look at plot_training_curves, and change course: adjust_learning_rate, toggle_augmentation, configure_training,
   save_checkpoint before something risky and restore_checkpoint after it went wrong. After a divergence only
   reinitialize=true or a checkpoint helps.
4. submit_model grades the run and ends the episode. Submit before you stop: a run that is not submitted has no score.

A call that is refused says why and changes nothing. A long call sends progress; if it is cancelled, the epochs
that it completed stay spent. Note the episode_id: after a lost connection, start_task with it and resume=true goes on.
"""

ABOUT = About(
    name="ml_trainer_env",
    version="0.3.0",
    description=(
        "Train a real PyTorch model well on a budget of epochs: choose optimizer, learning rate, schedule and "
        "regularisation, watch the curves, change course, and submit."
    ),
    instructions=INSTRUCTIONS,
    prompt=(
        "You train a neural network on a budget of epochs by calling tools. Configure training, run epochs, read the "
        "curves, change course where it pays, and submit the model."
    ),
)

_RANKED_INSTRUCTIONS = """
This server is ranked. Each task can be begun once and nothing can be forked; seeds are drawn. The reply to a submission
tells no score: all scores are told when the ranked run is closed. After a lost connection, go on with an episode by its
episode_id and resume=true.
"""

RANKED_ABOUT = replace(ABOUT, instructions=INSTRUCTIONS + _RANKED_INSTRUCTIONS)

_CACHED_DRAWS = 64
"""Number of draws whose examples stay in memory, a few megabytes each."""

_SEED = Limit(0, 2**63 - 1, whole=True)


class TuningGame:
    """The tuning game; see `episodes.game.Game`.

    Args:
        data: Settings of the data sets.
        limits: Time limits of calls and epochs.
        rubric: The default rubric of tasks that it can grade. Other tasks have their own.
        ranked: The tasks of a ranked server. It has no others. None if it is not ranked.
    """

    about = ABOUT
    unit = "epoch"
    tools: Toolbox[Any] = TOOLS
    rubrics: Sequence[str] = tuple(RubricVersion)
    default_task = "easy_mnist"
    splits: Sequence[str] = SPLITS
    reset_model = ResetObservation
    state_model = MLTrainerState
    task_schema: Mapping[str, Any] = TASK_SCHEMA

    def __init__(
        self,
        data: DataSettings,
        limits: TimeLimits,
        rubric: RubricVersion = RubricVersion.V1,
        ranked: RankedTasks | None = None,
    ) -> None:
        self._data = data
        self._limits = limits
        self._rubric = rubric
        self._ranked = ranked
        if ranked is not None:
            self.about, self.splits, self.default_task = RANKED_ABOUT, (RANKED,), f"{RANKED}/0"
            self.rubrics = (RubricVersion.V3,)

    def task_count(self, split: str) -> int:
        """Return the number of tasks of a split. 0 for an unknown split."""
        if self._ranked is not None:
            return len(self._ranked) if split == RANKED else 0
        return count_tasks(split)

    def task_row(self, split: str, index: int) -> dict[str, Any]:
        """Return a row of the task table.

        Raises:
            IndexError: The split has no task with this index.
        """
        if self._ranked is None:
            return task_row(task_at(split, index))
        if split != RANKED:
            raise IndexError(f"there is no split {split!r}: this server is ranked, and its split is {RANKED!r}")
        return task_row(self._ranked.task_at(index))

    def knows_task(self, task: str) -> bool:
        """Whether there is a task of this id."""
        try:
            self._task(task)
        except ResetError:
            return False
        return True

    async def begin(self, task: object, seed: object, options: BeginOptions) -> TuningEpisode:
        """Begin an episode.

        Raises:
            ResetError: The task, rubric, seed, data or rules do not exist here.
            DatasetError: The task's images are not available.
        """
        found = self._task(self.default_task if task is None else task)
        examples = await self._examples(found, options.data)
        found = with_named_reference(found, examples.checksum)
        return TuningEpisode(
            name=options.name,
            task=found,
            examples=examples,
            seed=found.seed if seed is None else int(_SEED.check("seed", seed)),
            rubric=self._rubric_of(found, options.rubric),
            rules=_rules(options),
            source=options.source,
            limits=self._limits,
        )

    def _task(self, task_id: object) -> Task:
        try:
            return find_task(task_id) if self._ranked is None else self._ranked.find(task_id)
        except UnknownTaskError as error:
            raise ResetError(str(error)) from error

    def _load(self, wanted: ImageRequest | ExampleDraw) -> TaskExamples:
        return load_images(wanted, self._data) if isinstance(wanted, ImageRequest) else _drawn(wanted)

    def _rubric_of(self, task: Task, wanted: object) -> RubricVersion:
        """Return the rubric of an episode.

        Raises:
            ResetError: The rubric does not exist, or it cannot grade the task.
        """
        usable = [one for one in task.rubrics if one is not RubricVersion.V3 or task.reference is not None]
        if wanted is None:
            return self._rubric if self._rubric in usable else usable[0]
        rubric = RubricVersion(check_choice("rubric", wanted, tuple(RubricVersion)))
        if rubric in usable:
            return rubric
        if rubric is RubricVersion.V3:
            raise ResetError(
                f"rubric v3 compares with a calibrated reference, and {task.id} has none for these examples; "
                f"leave rubric out, or choose one of {', '.join(usable)}"
            )
        raise ResetError(f"rubric {rubric} does not grade {task.id}; choose one of {', '.join(usable)}")

    async def _examples(self, task: Task, checksum: str | None) -> TaskExamples:
        # Reading or drawing examples takes up to seconds, so it runs in a thread.
        examples = await asyncio.to_thread(self._load, task.examples)
        if checksum is not None and examples.checksum != checksum:
            raise ResetError(
                f"the episode was played on other examples ({checksum[:12]}) than this server has for {task.id} "
                f"({examples.checksum[:12]}, {examples.source}): see ML_TRAINER_DATA_DIR"
            )
        return examples


@lru_cache(maxsize=_CACHED_DRAWS)
def _drawn(draw: ExampleDraw) -> TaskExamples:
    return draw_examples(draw)


def _rules(options: BeginOptions) -> Rules:
    if options.rules is None:
        return CURRENT_RULES
    if options.rules not in RULES:
        raise ResetError(
            f"episode {options.name!r} was begun under rules {options.rules}, and this version knows "
            f"{', '.join(map(str, RULES))}: a newer version of the program is needed"
        )
    return RULES[options.rules]
