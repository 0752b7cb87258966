"""What there is to play, and what is being played, in the words of the wire."""

from dataclasses import asdict
from typing import Any

from ml_trainer_env.models import DatasetDescription, ResetObservation, TaskDescription
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.episodes.calls import TOOL_NAMES
from ml_trainer_env.server.episodes.open_episode import OpenEpisode, shown_call
from ml_trainer_env.server.tuning.episode import Episode
from ml_trainer_env.server.tuning.observation import training_status
from ml_trainer_env.server.tuning.tasks import TASKS, Task

__all__ = ["episode_observation", "reset_observation", "task_rows"]


def reset_observation(opened: OpenEpisode) -> ResetObservation:
    """What a reset answers: the task, where the run stands, and what led there."""
    came_from = {
        "resumed": opened.resumed,
        "forked_from": opened.header.forked_from,
        "last_call": shown_call(opened.last_call) if opened.last_call else None,
        "metadata": {"step_count": opened.step_count},
    }
    return episode_observation(opened.episode).model_copy(update=came_from)


def episode_observation(episode: Episode) -> ResetObservation:
    """The task, and where the run stands."""
    task, images = episode.task, episode.images
    return ResetObservation(
        reward=0.0,
        done=episode.done,
        configuration=asdict(episode.config),
        episode_id=episode.episode_id,
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
            tools=list(TOOL_NAMES),
        ),
        status=training_status(episode.history, task.budget, episode.learning_rate),
    )


def task_rows() -> list[dict[str, Any]]:
    """The task table, a row for each task."""
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
