"""Converts tuning tasks and episodes to the models of the wire."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ml_trainer_env.models import DatasetDescription, ResetObservation, TaskDescription
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.tuning.tasks import TASKS, Task
from ml_trainer_env.server.tuning.tools import TOOLS

if TYPE_CHECKING:
    from ml_trainer_env.server.tuning.episode import TuningEpisode

__all__ = ["reset_observation", "task_rows"]


def reset_observation(episode: "TuningEpisode") -> ResetObservation:
    """Return the observation of a reset: the task of an episode and its training status."""
    task, images = episode.task, episode.images
    return ResetObservation(
        reward=0.0,
        done=episode.done,
        configuration=asdict(episode.config),
        episode_id=episode.name,
        seed=episode.seed,
        rubric=episode.rubric_version,
        rules=episode.rules.version,
        task=TaskDescription(
            id=task.id,
            name=task.name,
            description=task.description,
            difficulty=task.difficulty,
            network=task.network.name,
            parameter_count=task.parameter_count,
            dataset=_dataset_description(task, images),
            budget_epochs=task.budget.epochs,
            budget_seconds=task.budget.seconds,
            target_metric=task.target_metric,
            target_value=task.target_value,
            tools=list(TOOLS.names),
        ),
        status=episode.training_status(),
    )


def task_rows() -> list[dict[str, Any]]:
    """Return the task table, one row for each task."""
    return [
        {
            "id": task.id,
            "index": index,
            "name": task.name,
            "description": task.description,
            "difficulty": task.difficulty,
            "budget_epochs": task.budget.epochs,
            "budget_seconds": task.budget.seconds,
            "target_metric": task.target_metric,
            "target_value": task.target_value,
        }
        for index, task in enumerate(TASKS.values())
    ]


def _dataset_description(task: Task, images: TaskExamples) -> DatasetDescription:
    return DatasetDescription(
        name=task.images.dataset,
        source=images.source,
        train_size=len(images.train_labels),
        validation_size=len(images.validation_labels),
        test_size=len(images.test_labels),
        checksum=images.checksum,
    )
