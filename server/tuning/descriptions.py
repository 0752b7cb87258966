"""Converts tuning tasks and episodes to the models of the wire."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ml_trainer_env.models import DatasetDescription, ResetObservation, TaskDescription
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.trainer.network_specs import NETWORKS
from ml_trainer_env.server.tuning.families.tasks import describe_network
from ml_trainer_env.server.tuning.tasks import Task
from ml_trainer_env.server.tuning.tools import TOOLS

if TYPE_CHECKING:
    from ml_trainer_env.server.tuning.episode import TuningEpisode

__all__ = ["reset_observation", "task_row"]


def reset_observation(episode: "TuningEpisode") -> ResetObservation:
    """Return the observation of a reset: the task of an episode and its training status."""
    task, examples = episode.task, episode.examples
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
            network=_network_name(task),
            parameter_count=task.parameter_count,
            dataset=_dataset_description(task, examples),
            budget_epochs=task.budget.epochs,
            budget_seconds=task.budget.seconds,
            target_metric=task.target_metric,
            target_value=task.target_value,
            tools=list(TOOLS.names),
            **(_place(task) if episode.rules.tells_place else {}),
        ),
        status=episode.training_status(),
    )


def _place(task: Task) -> dict[str, Any]:
    """Return what episodes of earlier rules are not told: where a task is listed, and what it allows."""
    return {
        "split": task.split,
        "index": task.index,
        "group": task.group,
        "rubrics": list(task.rubrics),
        "largest_batch": task.largest_batch,
    }


def _network_name(task: Task) -> str:
    """Return the name of a named network, or the shape of a drawn one. The scale of its weights is not told."""
    named = NETWORKS.get(task.network.name)
    return task.network.name if named else describe_network(task.network)


def task_row(task: Task) -> dict[str, Any]:
    """Return a row of the task table."""
    return {
        "id": task.id,
        "split": task.split,
        "index": task.index,
        "name": task.name,
        "description": task.description,
        "difficulty": task.difficulty,
        "group": task.group,
        "cost_s": task.cost_s,
        "budget_epochs": task.budget.epochs,
        "budget_seconds": task.budget.seconds,
        "target_metric": task.target_metric,
        "target_value": task.target_value,
        "rubrics": list(task.rubrics),
    }


def _dataset_description(task: Task, examples: TaskExamples) -> DatasetDescription:
    return DatasetDescription(
        name=task.group,
        source=examples.source,
        train_size=len(examples.train_labels),
        validation_size=len(examples.validation_labels),
        test_size=len(examples.test_labels),
        checksum=examples.checksum,
    )
