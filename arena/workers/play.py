"""Plays one run of a submission in the sandbox."""

import time
from dataclasses import replace
from pathlib import Path

from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.workers.outcomes import RunOutcome, failed
from ml_trainer_env.arena.workers.rollout import roll_out
from permuted_mnist.delivery import Delivery
from permuted_mnist.evaluation.episode import run_episode
from permuted_mnist.evaluation.series import agent_seed
from permuted_mnist.hardening import DrawnDigits
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.tasks import Variant, draw_task

__all__ = ["play"]


def play(
    kernel: Kernel,
    folder: Path,
    env_folder: Path,
    seed: int,
    timeout_s: float,
    layers: Layers,
    train_images: int,
    env_layers: Layers | None = None,
) -> RunOutcome:
    """Play a run.

    Args:
        kernel: Kind of the competition.
        folder: The submission's files, readable by every user.
        env_folder: The environment's files, readable by every user; used if the kernel needs an environment.
        seed: Seed of the run.
        timeout_s: Time limit of the run.
        layers: Sandbox layers.
        train_images: Training images of a Permuted-MNIST task; it has a sixth as many test images.
        env_layers: Sandbox layers of the environment, if they differ.

    Raises:
        OSError: The sandbox cannot be started.
    """
    limits = Limits()
    if kernel is Kernel.GYMNASIUM:
        limits = replace(limits, wall_s=timeout_s, start_s=min(limits.start_s, timeout_s))
        return roll_out(folder, env_folder, seed % 2**31, agent_seed(seed, 0), limits, layers, env_layers)
    limits = replace(limits, wall_s=min(limits.wall_s, timeout_s), start_s=min(limits.start_s, timeout_s))
    task = draw_task(DrawnDigits(train_images, train_images // 6), seed, 0, Variant.HARDENED)
    began = time.monotonic()
    result = run_episode(1, folder, task, limits, layers, agent_seed(seed, 0), Delivery.COMPETITION)
    if result.failure is None:
        return RunOutcome(result.accuracy, result.time_s, result.peak_memory_bytes, None, None, result.log)
    wall_s = time.monotonic() - began
    return failed(result.failure, result.detail, wall_s, result.peak_memory_bytes, result.log)
