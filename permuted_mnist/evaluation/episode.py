"""Runs one task with one agent in a sandbox. The test labels never leave this process."""

import time
from pathlib import Path

from permuted_mnist.delivery import Delivery
from permuted_mnist.evaluation.results import EpisodeResult, Failure
from permuted_mnist.evaluation.sandboxed_agent import AgentFailedError, SandboxedAgent
from permuted_mnist.predictions import PredictionError, accuracy
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.tasks import PermutedTask

__all__ = ["run_episode"]


def run_episode(
    number: int,
    folder: Path,
    task: PermutedTask,
    limits: Limits,
    layers: Layers,
    agent_seed: int,
    delivery: Delivery = Delivery.COMPETITION,
) -> EpisodeResult:
    """Train and grade an agent.

    Args:
        number: Number of the episode, from 1.
        folder: The agent's folder, readable by every user.
        task: The task.
        limits: Resource limits.
        layers: Sandbox layers.
        agent_seed: Seed for the agent's constructor. The task's seed must not be computable from it.
        delivery: The form of images and labels.

    Raises:
        OSError: The sandbox cannot be started.
    """
    train_images, test_images = delivery.images(task.train_images), delivery.images(task.test_images)
    train_labels = delivery.labels(task.train_labels)
    right, failure, detail = None, None, ""
    with SandboxedAgent(folder, limits, layers, agent_seed) as agent:
        try:
            agent.load()
            agent.train(train_images, train_labels)
            predictions = agent.predict(test_images)
            ended = time.monotonic()
            right = accuracy(predictions, task.test_labels)
        except (AgentFailedError, PredictionError) as error:
            ended = time.monotonic()
            failure = error.failure if isinstance(error, AgentFailedError) else Failure.BAD_OUTPUT
            detail = str(error)
    return EpisodeResult(
        number=number,
        accuracy=right,
        time_s=ended - agent.delivered if agent.delivered else 0.0,
        train_s=agent.trained - agent.delivered if agent.delivered and agent.trained else None,
        start_s=(agent.delivered or ended) - agent.began,
        peak_memory_bytes=agent.peak_memory_bytes,
        failure=failure,
        detail=detail,
        log=agent.log,
    )
