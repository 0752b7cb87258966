"""Training on a GPU: the laws of the trainer, where there is one. And what a machine without one can check."""

import asyncio
import threading
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from drawn_networks import examples_for

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.settings import Settings, SettingsError
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.accidents import started_state
from ml_trainer_env.server.trainer.augmentation import augmented
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData, prepare
from ml_trainer_env.server.trainer.devices import opened_device
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.errors import DeviceError
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import Device, NetworkKind
from ml_trainer_env.server.trainer.network_specs import NETWORKS, NetworkSpec
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.probe import probe
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

Images = Mapping[str, Examples]
CONFIG = TrainingConfig(dropout=0.2, augmentation=True, batch_size=32)
PLAN = LearningRatePlan(LrSchedule.COSINE, 0.003, 0, 4)
SEQUENCES = [
    NetworkSpec(NetworkKind.CNN_1D, (12, 20), 5, depth=2, width=16, norm=True, examples=ExampleKind.TOKENS),
    NetworkSpec(NetworkKind.TRANSFORMER, (12, 4), 5, depth=2, width=16, norm=True, examples=ExampleKind.SEQUENCES),
    NetworkSpec(
        NetworkKind.TRANSFORMER,
        (12, 20),
        20,
        depth=1,
        width=16,
        examples=ExampleKind.TOKENS,
        target=TargetKind.NEXT_TOKEN,
    ),
]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
networks = pytest.mark.parametrize("network", [*NETWORKS, *(spec.name for spec in SEQUENCES)])


@pytest.fixture
def examples(images: Images, network: str) -> Examples:
    """Examples for the network of the test."""
    sequences = {spec.name: spec for spec in SEQUENCES}
    return images[network] if network in images else examples_for(sequences[network])


@pytest.fixture
def gpu() -> torch.device:
    return opened_device(Device.CUDA)


def run(network: str, data: TensorData, *chunks: int, seed: int = 3) -> tuple[TrainingState, list[object]]:
    state, history = initial_state(FreshState(network, seed)), []
    for epochs in chunks:
        state, metrics = advance(state, CONFIG, PLAN, data, epochs)
        history += metrics
    return state, history


@pytest.mark.gpu
@needs_gpu
@networks
def test_chunks_and_repetitions_change_no_bit_on_a_gpu(examples: Examples, network: str, gpu: torch.device) -> None:
    (whole, figures), (parts, same), (again, _) = (
        run(network, TensorData(examples, device=gpu), *chunks) for chunks in ((4,), (1, 3), (4,))
    )

    assert weights_hash(whole) == weights_hash(parts) == weights_hash(again)
    assert figures == same


@pytest.mark.gpu
@needs_gpu
@networks
def test_a_second_training_on_the_same_gpu_changes_no_bit(examples: Examples, network: str, gpu: torch.device) -> None:
    data = TensorData(examples, device=gpu)
    alone = weights_hash(run(network, data, 3)[0])
    other = threading.Thread(target=run, args=(network, data, 3), kwargs={"seed": 4})
    other.start()
    beside = weights_hash(run(network, data, 3)[0])
    other.join()

    assert beside == alone


@pytest.mark.gpu
@needs_gpu
@networks
def test_a_gpu_computes_what_the_processor_does_up_to_rounding(
    examples: Examples, network: str, gpu: torch.device
) -> None:
    (here, figures), (there, wanted) = (
        run(network, TensorData(examples, device=where), 1) for where in (gpu, torch.device("cpu"))
    )

    assert figures[0].initial_loss == pytest.approx(wanted[0].initial_loss, rel=1e-3)  # type: ignore[attr-defined]
    assert {name: array.dtype for name, array in here.weights.items()} == {
        name: array.dtype for name, array in there.weights.items()
    }
    assert all(isinstance(array, np.ndarray) for array in (*here.weights.values(), *here.optimizer.values()))


@pytest.mark.gpu
@needs_gpu
def test_starts_are_computed_on_the_processor(images: Images, gpu: torch.device) -> None:
    fresh = FreshState("simple_mlp", 1, start=StartSpec(StartKind.HOT, 0.8, 2))

    found = [
        started_state(fresh, TensorData(images["simple_mlp"], device=device)) for device in (gpu, torch.device("cpu"))
    ]

    assert weights_hash(found[0]) == weights_hash(found[1])


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_and_its_settings_are_part_of_the_identity() -> None:
    facts = probe({"device": "cuda"})

    assert {"gpu", "gpu_capability", "cuda", "cudnn"} <= set(facts)
    assert (facts["tf32"], facts["kernels"]) == ("False", "torch")
    assert facts == probe({"device": "cuda"})
    assert facts["probe"] != probe({"kernels": "torch"})["probe"]


@pytest.mark.gpu
@needs_gpu
def test_two_workers_on_a_gpu_have_the_same_identity() -> None:
    async def identities() -> list[str]:
        found = []
        for _ in range(2):
            pool = ProcessPoolExecutor(1, 2, 16_000, probe=PROBE, options={"device": "cuda"})
            try:
                await pool.start()
                found.append((await pool.identity()).key)
            finally:
                await pool.close()
        return found

    first, second = asyncio.run(identities())

    assert first == second


# Without a GPU.


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_in_words(images: Images) -> None:
    with pytest.raises(DeviceError, match="there is no GPU that this build of torch can use"):
        prepare(images["simple_mlp"], {"device": "cuda"})


def test_the_setting_names_the_device() -> None:
    settings = Settings.from_environment({"ML_TRAINER_DEVICE": "cuda"})

    assert settings.options(64) == {"evaluation_batch": 64, "kernels": "auto", "precision": "fp32", "device": "cuda"}
    assert Settings.from_environment({}).device is Device.CPU


@pytest.mark.parametrize("other", [{"ML_TRAINER_PRECISION": "bf16"}, {"ML_TRAINER_DEVICE": "cuda"}])
def test_the_native_kernels_are_refused_where_they_cannot_compute(other: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="ML_TRAINER_KERNELS=native computes in fp32 on the processor"):
        Settings.from_environment({"ML_TRAINER_KERNELS": "native", **other})


@pytest.mark.slow  # fake tensors import torch's compiler
@networks
def test_examples_transforms_and_networks_are_where_the_device_is(examples: Examples, network: str) -> None:
    """Torch's fake tensors have a device and no values. An operation on tensors of two devices is an error."""
    # A late import, which takes seconds.
    from torch._subclasses.fake_tensor import FakeTensorMode

    weights = initial_state(FreshState(network, 1)).weights
    with FakeTensorMode(allow_non_fake_inputs=True):
        data = TensorData(examples, device=torch.device("cuda:0"))
        order = torch.arange(len(data.train_labels)).to(data.device)
        spec = NETWORKS.get(network) or next(spec for spec in SEQUENCES if spec.name == network)
        source = torch.Generator().manual_seed(0)
        # The number of mirrored images is a value, so those families are run without transforms.
        strength = 0.0 if network in ("small_cnn", "deeper_cnn") else 1.0
        built = build_network(spec, weights, dropout=0.2, source=source, device=data.device)
        logits = built.train()(augmented(data, order[:8], strength, source))

    assert {tensor.device.type for tensor in (data.validation_inputs, data.test_labels, logits)} == {"cuda"}
