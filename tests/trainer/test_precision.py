"""Training in bf16: the same laws, weights in float32, and an identity of its own."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from ml_trainer_env.server.trainer import kernels
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData, prepare
from ml_trainer_env.server.trainer.engine import advance, held_out_loss_and_accuracy, initial_state
from ml_trainer_env.server.trainer.errors import KernelError
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import Kernels, Precision
from ml_trainer_env.server.trainer.probe import probe
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

Images = Mapping[str, Examples]
CONFIG = TrainingConfig(dropout=0.2, augmentation=True, batch_size=32)
PLAN = LearningRatePlan(LrSchedule.COSINE, 0.003, 0, 4)
networks = pytest.mark.parametrize(
    "network", ["simple_mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("small_cnn", "deeper_cnn"))]
)


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(2)


def in_bf16(examples: Examples) -> TensorData:
    return TensorData(examples, precision=Precision.BF16)


def run(network: str, data: TensorData, *chunks: int) -> tuple[TrainingState, list[object]]:
    state, history = initial_state(FreshState(network, 3)), []
    for epochs in chunks:
        state, metrics = advance(state, CONFIG, PLAN, data, epochs)
        history += metrics
    return state, history


@networks
def test_chunks_change_no_bit_and_a_repetition_does_not_either(images: Images, network: str) -> None:
    whole, parts = run(network, in_bf16(images[network]), 4), run(network, in_bf16(images[network]), 1, 3)

    assert weights_hash(whole[0]) == weights_hash(parts[0])
    assert whole[1] == parts[1]


@networks
def test_weights_stay_float32_and_the_figures_are_near_those_of_fp32(images: Images, network: str) -> None:
    (low, after_low), (full, after_full) = (
        run(network, data, 1) for data in (in_bf16(images[network]), TensorData(images[network]))
    )

    assert {array.dtype for array in low.weights.values()} == {array.dtype for array in full.weights.values()}
    assert {array.dtype for array in low.optimizer.values()} == {np.dtype(np.float32)}
    assert weights_hash(low) != weights_hash(full)
    assert after_low[0].initial_loss == pytest.approx(after_full[0].initial_loss, rel=0.02)  # type: ignore[attr-defined]


def test_the_held_out_figures_are_computed_in_the_same_precision(images: Images) -> None:
    state, _ = run("small_cnn", TensorData(images["small_cnn"]), 2)

    low, full = (
        held_out_loss_and_accuracy(state, data)
        for data in (in_bf16(images["small_cnn"]), TensorData(images["small_cnn"]))
    )

    assert low[0] != full[0]
    assert low[0] == pytest.approx(full[0], rel=0.05)


def test_it_is_part_of_the_identity_and_torch_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "processor_flags", lambda: frozenset({"avx512_bf16"}))

    low, full = probe({"precision": "bf16"}), probe({"kernels": "torch", "precision": "fp32"})

    assert low["kernels"] == full["kernels"] == Kernels.TORCH
    assert low["probe_processor"] == full["probe"], "starts and the fleet are computed in fp32"
    assert "probe_processor" not in full
    assert low["probe"] != full["probe"]


def test_a_processor_without_instructions_for_it_is_refused_in_words(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "processor_flags", lambda: frozenset({"avx2"}))

    with pytest.raises(KernelError, match="this processor has no instructions for bf16"):
        prepare(images["simple_mlp"], {"precision": "bf16"})
