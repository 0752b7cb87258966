"""Small networks of every form, drawn by hypothesis, and noise of the form that they read."""

import numpy as np
import torch
from hypothesis import strategies as st

from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import Activation, AugmentationKind, NetworkKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec

__all__ = ["batch_for", "examples_for", "specs"]

READS = {
    NetworkKind.MLP: ["images", "tables", "sequences", "tokens"],
    NetworkKind.CNN: ["images"],
    NetworkKind.CNN_1D: ["sequences", "tokens"],
    NetworkKind.TRANSFORMER: ["sequences", "tokens"],
}


@st.composite
def specs(draw: st.DrawFn, kinds: tuple[NetworkKind, ...] = tuple(NetworkKind)) -> NetworkSpec:
    """Small networks of every form."""
    kind = draw(st.sampled_from(kinds))
    examples = draw(st.sampled_from(READS[kind]))
    target = "classes"
    if kind is NetworkKind.TRANSFORMER and examples == "tokens":
        target = draw(st.sampled_from(["classes", "next_token"]))
    rank = {"images": 3, "tables": 1, "sequences": 2, "tokens": 2}[examples]
    channels = [draw(st.sampled_from([1, 3]))] if examples == "images" else []  # what stored images may have
    least = 2 if examples == "tokens" else 1
    inputs = (*channels, *draw(st.tuples(*[st.integers(least, 12)] * (rank - len(channels)))))
    cnn_alone = {"hidden": st.sampled_from([0, 7]), "first_stride": st.integers(1, 2)}
    return NetworkSpec(
        kind=kind,
        examples=examples,  # type: ignore[arg-type]  # it is checked and converted
        inputs=inputs,
        outputs=inputs[1] if target == "next_token" else draw(st.integers(2, 12)),
        depth=draw(st.integers(1, 5)),
        width=draw(st.one_of(st.integers(1, 12), st.just(35))),
        norm=draw(st.booleans()),
        activation=draw(st.sampled_from(Activation)),
        initial_scale=draw(st.floats(0.2, 4.0)),
        target=target,  # type: ignore[arg-type]
        **{name: draw(values) for name, values in cnn_alone.items() if kind is NetworkKind.CNN},
    )


def examples_for(spec: NetworkSpec, train: int = 70, validation: int = 9) -> Examples:
    """Noise of the form that a network reads."""
    source = np.random.default_rng(1)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = source.integers(0, spec.outputs, count)
        if spec.examples == "tokens":
            tokens = source.integers(0, spec.inputs[1], (count, spec.inputs[0]))
            return tokens, (np.roll(tokens, -1, axis=1) if spec.target == "next_token" else labels)
        if spec.examples != "images":
            return source.normal(3.0, 2.0, (count, *spec.inputs)).astype(np.float32), labels
        channels, height, width = spec.inputs
        shape = (height, width) if channels == 1 else (height, width, channels)
        return source.integers(0, 256, (count, *shape), dtype=np.uint8), labels

    return Examples(
        "noise",
        AugmentationKind.NONE if spec.examples == "tokens" else AugmentationKind.SCATTERED,
        *(*draw(train), *draw(validation), *draw(validation)),
        kind=spec.examples,
        target=spec.target,
        outputs=spec.outputs,
        vocabulary=spec.inputs[1] if spec.examples == "tokens" else 0,
    )


def batch_for(spec: NetworkSpec, count: int) -> torch.Tensor:
    """A batch of noise, as a network takes it."""
    source = torch.Generator().manual_seed(2)
    if spec.examples == "tokens":
        return torch.randint(spec.inputs[1], (count, spec.inputs[0]), generator=source)
    return torch.randn(count, *spec.inputs, generator=source)
