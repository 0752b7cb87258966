"""The native kernels against torch: the same mathematics, whatever the network, the batch and the number of threads."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_networks import batch_for, examples_for, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.native import Kind, Library, Network, Shape
from ml_trainer_env.native import library as native_library
from ml_trainer_env.server.trainer import kernels as choice
from ml_trainer_env.server.trainer.augmentation import augmented
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.cutting import Cuts, cut
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.errors import Interrupted, KernelError
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kernels import chosen_kernels, kernels_name
from ml_trainer_env.server.trainer.kinds import AugmentationKind, Kernels, NetworkKind
from ml_trainer_env.server.trainer.learner import Learner
from ml_trainer_env.server.trainer.learners import open_learner
from ml_trainer_env.server.trainer.native_learner import NativeLearner
from ml_trainer_env.server.trainer.network_specs import NETWORKS, NetworkSpec
from ml_trainer_env.server.trainer.networks import draw_weights
from ml_trainer_env.server.trainer.probe import probe
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

KNOWN = (NetworkKind.MLP, NetworkKind.CNN, NetworkKind.CNN_1D)
SGD = TrainingConfig(optimizer="sgd", learning_rate=0.01, weight_decay=0.0, batch_size=256)
law = settings(max_examples=20, deadline=None)
comparison = settings(law, derandomize=True)
"""For figures of both. The networks are always the same ones: batch norm of values that are nearly equal multiplies
what is rounded without bound, and one in some hundred drawn networks has such values."""


@pytest.fixture(scope="module")
def library() -> Library:
    try:
        found = chosen_kernels(Kernels.NATIVE)
    except KernelError as error:
        pytest.skip(str(error))
    assert found is not None
    return found


def state_of(spec: NetworkSpec, seed: int = 1) -> TrainingState:
    return TrainingState(spec.name, draw_weights(spec, generator(Purpose.WEIGHTS, seed, 0)), {}, "", 0, 0)


def learner_of(kernels: Library | None, spec: NetworkSpec, config: TrainingConfig = SGD) -> Learner:
    source = generator(Purpose.DROPOUT, 1, 0)
    return open_learner(spec, state_of(spec), config, config.learning_rate, kernels, source)


def batch(spec: NetworkSpec, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = batch_for(spec, count)
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return inputs, torch.arange(count) * 7 % spec.outputs


def assert_close(found: np.ndarray, wanted: np.ndarray, share: float = 2e-4, noise: float = 1e-6) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert np.abs(found - wanted).max(initial=0.0) <= share * np.abs(wanted).max(initial=0.0) + noise


@comparison
@given(spec=specs(KNOWN), count=st.integers(1, 70))
def test_losses_gradients_and_running_statistics_of_any_network_and_batch_are_torchs(
    library: Library, spec: NetworkSpec, count: int
) -> None:
    native, wanted = learner_of(library, spec), learner_of(None, spec)
    assert isinstance(native, NativeLearner)
    inputs, labels = batch(spec, count)

    losses = [float(learner.step(inputs, labels, is_measured=True)) for learner in (native, wanted)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert native.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-3)
    assert native.update_ratio == pytest.approx(wanted.update_ratio, rel=1e-3)
    for found, expected in (
        (native.optimizer_arrays(), wanted.optimizer_arrays()),  # the first momenta are the gradients
        (native.weights(), wanted.weights()),
    ):
        assert list(found) == list(expected)
        for name in expected:  # a small gradient may be the sum of large terms, which both round in their own way
            assert_close(found[name], expected[name], noise=1e-5)


@comparison
@given(spec=specs(KNOWN), count=st.integers(1, 300))
def test_an_evaluation_of_any_network_is_torchs(library: Library, spec: NetworkSpec, count: int) -> None:
    native, wanted = learner_of(library, spec), learner_of(None, spec)
    inputs, labels = batch(spec, count)
    for learner in (native, wanted):
        learner.step(inputs[:32], labels[:32], is_measured=False)  # so that running statistics differ from their start

    found, expected = (learner.evaluate(inputs, labels, 64, watches_units=True) for learner in (native, wanted))

    assert found.loss == pytest.approx(expected.loss, rel=1e-4, abs=1e-5)
    assert abs(found.accuracy - expected.accuracy) * count <= 1  # two classes may be equally likely
    assert found.dead_units is not None
    assert found.dead_units == pytest.approx(expected.dead_units, abs=0.02)
    assert native.evaluate(inputs, labels, 64).dead_units is None


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(NetworkKind.MLP, (3, 5, 4), 4, depth=3, width=20),
        NetworkSpec(NetworkKind.MLP, (1, 8, 8), 4, depth=3, width=112),  # the optimizers share it among threads
        NetworkSpec(NetworkKind.CNN, (3, 8, 7), 4, depth=2, width=9),
        NetworkSpec(NetworkKind.CNN_1D, (9, 3), 4, depth=2, width=9, examples="sequences"),  # type: ignore[arg-type]
    ],
    ids=lambda spec: spec.kind,
)
def test_dropout_and_all_optimizers_go_torchs_way_for_ten_steps(
    library: Library, spec: NetworkSpec, optimizer: str
) -> None:
    config = TrainingConfig(optimizer=optimizer, learning_rate=0.003, weight_decay=0.1, dropout=0.4, batch_size=32)
    native, wanted = learner_of(library, spec, config), learner_of(None, spec, config)

    for number in range(10):
        inputs, labels = batch(spec, 20 + number)
        losses = [float(learner.step(inputs, labels, is_measured=False)) for learner in (native, wanted)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)

    for name, expected in wanted.weights().items():
        assert_close(native.weights()[name], expected, share=1e-3)


@law
@given(spec=specs(KNOWN), count=st.integers(1, 100), threads=st.integers(2, 5))
def test_the_number_of_threads_changes_no_bit(library: Library, spec: NetworkSpec, count: int, threads: int) -> None:
    inputs, labels = batch(spec, count)

    def run(threads: int) -> tuple[list[float], list[bytes]]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        learner = learner_of(library, spec)
        losses = [float(learner.step(inputs, labels, is_measured=True)) for _ in range(3)]
        figures = [learner.evaluate(inputs, labels, 64).loss, learner.gradient_norm, learner.update_ratio]
        torch.set_num_threads(before)
        return losses + figures, [array.tobytes() for array in learner.weights().values()]

    assert repr(run(threads)) == repr(run(1))


def test_torch_has_one_thread_while_the_kernels_compute(library: Library) -> None:
    before, threads = torch.get_num_threads(), []
    spec = NetworkSpec(NetworkKind.MLP, (1, 8, 8), 4, depth=1, width=16)
    data = TensorData(examples_for(spec), kernels=library)
    plan = LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 1)

    def stops() -> bool:
        threads.append(torch.get_num_threads())
        return True

    torch.set_num_threads(2)
    try:
        with pytest.raises(Interrupted):
            advance(initial_state(FreshState(spec.name, 3)), SGD, plan, data, interrupted=stops)
        threads.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)

    assert threads == [1, 2]


@law
@given(spec=specs(KNOWN), optimizer=st.sampled_from(["sgd", "adam", "adamw"]))
def test_states_of_either_are_continued_by_the_other(library: Library, spec: NetworkSpec, optimizer: str) -> None:
    config, plan = TrainingConfig(optimizer=optimizer), LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 2)
    examples = examples_for(spec)
    native, wanted = TensorData(examples, kernels=library), TensorData(examples)
    start = initial_state(FreshState(spec.name, 3))

    after, (first,) = advance(start, config, plan, native)
    continued, _ = advance(after, config, plan, wanted)

    assert not first.diverged
    assert continued.epoch == 2
    for state in (after, continued):
        alone, _ = advance(start, config, plan, wanted, epochs=state.epoch)
        assert list(state.weights) == list(alone.weights)
        assert list(state.optimizer) == list(alone.optimizer)
        assert [(one.shape, one.dtype) for one in state.optimizer.values()] == [
            (one.shape, one.dtype) for one in alone.optimizer.values()
        ]


@law
@given(side=st.integers(2, 33), count=st.integers(1, 40), strength=st.sampled_from([0.01, 0.5, 1.0]))
def test_images_are_turned_as_torch_turns_them(library: Library, side: int, count: int, strength: float) -> None:
    source = np.random.default_rng(side)
    images, labels = source.integers(0, 256, (50, side, side), dtype=np.uint8), np.zeros(50, np.int64)
    chosen = torch.from_numpy(source.permutation(50)[:count])

    def turned(kernels: Library | None) -> np.ndarray:
        data = TensorData(Examples("images", AugmentationKind.DIGITS, *[images, labels] * 3), kernels=kernels)
        return augmented(data, chosen, strength, generator(Purpose.AUGMENTATION, count, 0)).numpy()

    # Places are rounded otherwise, and neighbours of noise differ by up to four deviations.
    assert_close(turned(library), turned(None), share=1e-4)


@law
@given(
    sides=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.integers(1, 4),
    border=st.integers(0, 4),
    count=st.integers(1, 40),
    is_coloured=st.booleans(),
)
def test_images_are_cut_flipped_and_coloured_as_torch_does_it(
    library: Library, sides: tuple[int, int], channels: int, border: int, count: int, is_coloured: bool
) -> None:
    source = torch.Generator().manual_seed(count)
    bordered = torch.randn(9, sides[0] + 2 * border, sides[1] + 2 * border, channels, generator=source)
    rows, columns = torch.randint(0, 2 * border + 1, (2, count), generator=source)
    colours = torch.randn(2, count, channels, generator=source) if is_coloured else (None, None)
    cuts = Cuts(rows, columns, torch.rand(count, generator=source) < 0.5, *colours)
    chosen = torch.randint(0, 9, (count,), generator=source)

    native, wanted = (cut(bordered, border, chosen, cuts, kernels) for kernels in (library, None))

    assert native.shape == wanted.shape == (count, *sides, channels)
    torch.testing.assert_close(native, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_numbers_that_are_not_finite_are_not_hidden(library: Library, name: str, bad: float) -> None:
    spec = NETWORKS[name]
    state = state_of(spec)
    first = next(iter(state.weights))
    weights = dict(state.weights) | {first: np.full_like(state.weights[first], bad)}
    broken = TrainingState(spec.name, weights, {}, "", 0, 0)
    learner = open_learner(spec, broken, SGD, 0.01, library)

    assert not math.isfinite(float(learner.step(*batch(spec, 20), is_measured=False)))


def test_a_transformer_is_left_to_torch(library: Library) -> None:
    spec = NetworkSpec(NetworkKind.TRANSFORMER, (6, 3), 4, depth=1, width=16, examples="sequences")  # type: ignore[arg-type]

    assert not isinstance(learner_of(library, spec), NativeLearner)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["small_cnn", "deeper_cnn"])
def test_whole_runs_reach_the_same_accuracy(library: Library, images: dict[str, object], network: str) -> None:
    def accuracies(kernels: Library | None) -> list[float]:
        data = TensorData(images[network], kernels=kernels)  # type: ignore[arg-type]
        config = TrainingConfig(learning_rate=0.003, batch_size=32, dropout=0.2)
        plan = LearningRatePlan(LrSchedule.COSINE, 0.003, 0, 6)
        runs = [advance(initial_state(FreshState(network, seed)), config, plan, data, epochs=6)[1] for seed in range(5)]
        return [metrics[-1].val_accuracy for metrics in runs]

    found, wanted = np.array(accuracies(library)), np.array(accuracies(None))

    noise = max(0.02, float(np.std(wanted, ddof=1)))  # an example is 0.025
    assert abs(found.mean() - wanted.mean()) <= 3 * noise * math.sqrt(2 / 5)


def test_a_network_without_room_is_an_error_and_not_the_end_of_the_process(library: Library) -> None:
    layers = [Shape(Kind.LINEAR, 64, 1, 1, 2**20, 2**20)]  # with this batch more than any processor addresses

    with pytest.raises(MemoryError, match="no memory for a network of 1 layers"):
        Network(library, layers, 2**31 - 1, 1, 0, 0, 0)


# Which kernels are chosen.


@pytest.fixture
def unchosen() -> Iterator[None]:
    """Forgets the choice of this process before and after the test."""
    chosen_kernels.cache_clear()
    yield
    chosen_kernels.cache_clear()


@pytest.mark.usefixtures("unchosen")
def test_without_compiled_kernels_torch_computes_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "find_library", lambda: None)

    with caplog.at_level(logging.WARNING):
        assert [chosen_kernels(Kernels.AUTO) for _ in range(3)] == [None] * 3

    assert [record.getMessage() for record in caplog.records] == [
        f"Torch computes everything, without the faster native kernels: {choice._ABSENT}."
    ]
    with pytest.raises(KernelError, match="they were not compiled for this processor"):
        chosen_kernels(Kernels.NATIVE)


@pytest.mark.usefixtures("unchosen")
def test_kernels_that_compute_something_else_are_not_used(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right: Callable[..., float] = library.functions.network_loss
    monkeypatch.setattr(library.functions, "network_loss", lambda *arguments: right(*arguments) * 1.001)

    with caplog.at_level(logging.WARNING):
        assert chosen_kernels(Kernels.AUTO) is None

    assert "they differ from torch by 1.0e-03 on the network" in caplog.text


def test_torch_is_used_where_it_was_asked_for() -> None:
    assert chosen_kernels(Kernels.TORCH) is None


def test_the_kernels_are_part_of_the_identity(library: Library) -> None:
    native, wanted = probe({"kernels": "native"}), probe({"kernels": "torch"})

    assert (native["kernels"], wanted["kernels"]) == (library.name, "torch")
    assert library.name.startswith(f"native-{native_library.VERSION}-avx")
    assert kernels_name(library) == library.name
    assert native["probe"] != wanted["probe"]


def test_a_library_of_another_version_is_not_used(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native_library.find_library.__wrapped__() is not None
    monkeypatch.setattr(native_library, "VERSION", library.version + 1)

    assert native_library.find_library.__wrapped__() is None


def test_the_sources_are_those_of_the_version() -> None:
    folder = Path(native_library.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.hpp"), *folder.glob("*.cpp")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())

    assert digest.hexdigest()[:16] == native_library.SOURCES, "raise the version if a bit of a result may change"


def test_a_library_is_found_only_if_the_processor_has_its_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for flags in ((), ("sse2",), ("avx2",)):  # without fma
        monkeypatch.setattr(native_library, "processor_flags", lambda flags=flags: frozenset(flags))
        assert native_library.find_library.__wrapped__() is None
