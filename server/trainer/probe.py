"""The probe: a digest of one fixed training step of each network. It shows which kernels torch chose.

Versions and threads do not determine the kernels. The libraries below torch choose them by the processor and by their
own environment variables, and each kernel rounds differently. The probe takes about 0.2 s on one core.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData, prepare
from ml_trainer_env.server.trainer.devices import device_facts
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kernels import kernels_name
from ml_trainer_env.server.trainer.kinds import AugmentationKind, Device, Kernels, NetworkKind, Precision
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, weights_hash

__all__ = ["probe"]

_IMAGES = 64
"""Number of images. It equals the batch size, so the epoch is one step."""

_GREY, _COLOUR = (28, 28), (32, 32, 3)

_STEPS = {
    "simple_mlp": (_GREY, AugmentationKind.DIGITS, OptimizerKind.ADAM),
    "small_cnn": (_GREY, AugmentationKind.CLOTHES, OptimizerKind.SGD),
    "deeper_cnn": (_COLOUR, AugmentationKind.OBJECTS, OptimizerKind.ADAMW),
    "batch_norm_mlp": (_GREY, AugmentationKind.SCATTERED, OptimizerKind.ADAM),
}
"""Shape of the images, augmentation and optimizer, by network."""

_TOKENS = (
    NetworkSpec(NetworkKind.CNN_1D, (32, 64), 10, depth=2, width=32, norm=True, examples=ExampleKind.TOKENS),
    NetworkSpec(
        NetworkKind.TRANSFORMER,
        (32, 64),
        64,
        depth=2,
        width=32,
        norm=True,
        examples=ExampleKind.TOKENS,
        target=TargetKind.NEXT_TOKEN,
    ),
)
"""The networks that read tokens."""


def probe(options: Mapping[str, int | str]) -> Mapping[str, str]:
    """Train each network for one step on fixed noise.

    Args:
        options: The options of the executor; see `prepare`.

    Returns:
        `kernels`, the name of the kernels that are used; `precision` and `device`; `probe`, SHA-256 (hex) of the
        weights and the figures after the steps; and for other devices and precisions facts about them, and
        `probe_processor`, the digest of torch in fp32 on the processor.

    Raises:
        KernelError: The options ask for kernels or a precision that cannot be used.
        DeviceError: The options ask for a device that is not there.
    """
    facts, data = _probed(options)
    if data.device.type != Device.CPU or data.precision is not Precision.FP32:
        # The fleet, and starts in mid-run, are computed on the processor in fp32 whatever the options say.
        facts["probe_processor"] = _probed({"kernels": Kernels.TORCH.value})[0]["probe"]
    return facts


def _probed(options: Mapping[str, int | str]) -> tuple[dict[str, str], TensorData]:
    """Return the facts of the steps under some options, and examples as they are prepared under them."""
    steps = [(name, _noise(shape, kind), optimizer) for name, (shape, kind, optimizer) in _STEPS.items()]
    steps += [(spec.name, _tokens(spec), OptimizerKind.ADAMW) for spec in _TOKENS]
    digest = hashlib.sha256()
    for network, examples, optimizer in steps:
        config = TrainingConfig(optimizer=optimizer, batch_size=_IMAGES, dropout=0.2, augmentation=True)
        plan = LearningRatePlan(LrSchedule.CONSTANT, 0.01, 0, 1)
        data = prepare(examples, options)
        state, (metrics,) = advance(initial_state(FreshState(network, 0)), config, plan, data)
        digest.update(f"{network}:{weights_hash(state)}:{metrics!r};".encode())
    facts = {
        "kernels": kernels_name(data.kernels),
        "precision": data.precision.value,
        "device": data.device.type,
        "probe": digest.hexdigest(),
        **device_facts(data.device),
    }
    return facts, data


def _noise(shape: tuple[int, ...], augmentation: AugmentationKind) -> Examples:
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *shape), dtype=np.uint8)
    labels = np.arange(_IMAGES, dtype=np.int64) % 10
    return Examples("probe", augmentation, images, labels, images, labels, images, labels)


def _tokens(spec: NetworkSpec) -> Examples:
    length, vocabulary = spec.inputs
    tokens = np.random.default_rng(0).integers(0, vocabulary, (_IMAGES, length))
    labels = np.roll(tokens, -1, axis=1) if spec.target is TargetKind.NEXT_TOKEN else tokens[:, 0] % spec.outputs
    return Examples(
        "probe",
        AugmentationKind.NONE,
        *(tokens, labels) * 3,
        kind=spec.examples,
        target=spec.target,
        outputs=spec.outputs,
        vocabulary=vocabulary,
    )
