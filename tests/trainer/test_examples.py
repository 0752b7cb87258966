"""Examples as values: what fits together, how tensors are made of them, and what they share."""

import pickle
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ml_trainer_env.server.datasets import ExampleKind, Permutation, Source, TargetKind, TaskExamples
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import EVALUATION_BATCH, TensorData, prepare
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.examples import Examples, PermutedExamples
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, weights_hash

COUNTS = (20, 6, 7)
SHAPES = {
    ExampleKind.IMAGES: (8, 6, 3),
    ExampleKind.TABLES: (5,),
    ExampleKind.SEQUENCES: (12, 4),
    ExampleKind.TOKENS: (9,),
}
VOCABULARY = 30

kinds = pytest.mark.parametrize("kind", ExampleKind)


def examples_of(kind: ExampleKind, target: TargetKind = TargetKind.CLASSES, **changes: Any) -> Examples:
    source, parts = np.random.default_rng(3), {}
    for part, count in zip(("train", "validation", "test"), COUNTS, strict=True):
        shape = (count, *SHAPES[kind])
        match kind:
            case ExampleKind.IMAGES:
                inputs: np.ndarray = source.integers(0, 256, shape, dtype=np.uint8)
            case ExampleKind.TOKENS:
                inputs = source.integers(0, VOCABULARY, shape).astype(np.uint8)
            case _:
                inputs = source.normal(5.0, 3.0, shape).astype(np.float32)
        parts[f"{part}_inputs"] = inputs
        parts[f"{part}_labels"] = source.integers(0, 10, shape if target is TargetKind.NEXT_TOKEN else count)
    told = {
        "key": "k",
        "augmentation": AugmentationKind.NONE,
        "kind": kind,
        "target": target,
        "vocabulary": VOCABULARY if kind is ExampleKind.TOKENS else 0,
        "outputs": VOCABULARY if target is TargetKind.NEXT_TOKEN else 10,
    }
    return Examples(**{**told, **parts, **changes})


def arrays_of(data: TensorData) -> dict[str, torch.Tensor]:
    names = [f"{part}_{half}" for part in ("train", "validation", "test") for half in ("inputs", "labels")]
    return {name: getattr(data, name) for name in names}


# Values.


@kinds
def test_examples_of_every_kind_survive_pickling(kind: ExampleKind) -> None:
    examples = examples_of(kind)

    copy = pickle.loads(pickle.dumps(examples))

    assert (copy.key, copy.kind, copy.input_shape) == ("k", kind, examples.input_shape)
    assert np.array_equal(copy.test_inputs, examples.test_inputs)
    assert copy.nbytes == examples.nbytes


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("images", (3, 8, 6)), ("tables", (5,)), ("sequences", (12, 4)), ("tokens", (9, VOCABULARY))],
)
def test_the_shape_of_an_example_is_the_one_that_a_network_names(kind: str, shape: tuple[int, ...]) -> None:
    assert examples_of(ExampleKind(kind)).input_shape == shape


def test_size_is_that_of_the_arrays() -> None:
    count, sizes = sum(COUNTS), SHAPES[ExampleKind.IMAGES]

    assert examples_of(ExampleKind.IMAGES).nbytes == count * int(np.prod(sizes)) + count * 8


FLOATS = np.zeros((20, 5), np.float32)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "images",
            {"train_inputs": FLOATS},
            "train_inputs must be uint8 (N, height, width) or (N, height, w",
        ),
        (
            "images",
            {"test_inputs": np.zeros((7, 8, 6, 1), np.uint8)},
            "must hold examples of the shape (8, 6, 3)",
        ),
        (
            "tables",
            {"train_inputs": FLOATS.astype(float)},
            "must be float32 (N, columns) for tables, got float64",
        ),
        ("tables", {"train_inputs": FLOATS + np.inf}, "train_inputs must be finite, and 100 of its values are not"),
        ("tables", {"train_inputs": FLOATS[:0]}, "train_inputs must not be empty, got float32 (0, 5)"),
        ("sequences", {"test_inputs": FLOATS}, "test_inputs must be float32 (N, length, channels) for"),
        ("tokens", {"vocabulary": 20}, "train_inputs must lie in 0 to 19, got 0 to 29"),
        ("tokens", {"vocabulary": 0}, "vocabulary must be at least 1 for tokens, got 0"),
        ("tables", {"vocabulary": 9}, "vocabulary must be 0 for tables, got 9"),
        ("tables", {"outputs": 4}, "train_labels must lie in 0 to 3, got 0 to 9"),
        (
            "tables",
            {"train_labels": np.zeros(19, int)},
            "must be whole numbers (20,) for classes, got int64 (19,)",
        ),
        (
            "tables",
            {"test_labels": np.zeros(7)},
            "whole numbers (7,) for classes, got float64 (7,)",
        ),
        ("tables", {"target": TargetKind.NEXT_TOKEN}, "the target next_token needs tokens, got tables"),
        (
            "tokens",
            {"target": TargetKind.NEXT_TOKEN, "outputs": 10},
            "must be the vocabulary, 30, for next_token, got 10",
        ),
        (
            "tables",
            {"augmentation": AugmentationKind.DIGITS},
            "of tables must be one of none, scattered, got digits",
        ),
        (
            "tokens",
            {"augmentation": AugmentationKind.SCATTERED},
            "of tokens must be one of none, got scattered",
        ),
        ("tables", {"input_scale": 0.0}, "input_scale must be a number above 0, got 0.0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_what_was_expected_and_what_came(
    kind: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        examples_of(ExampleKind(kind), **changes)


def test_the_next_token_has_a_label_at_each_place() -> None:
    examples = examples_of(ExampleKind.TOKENS, TargetKind.NEXT_TOKEN)

    with pytest.raises(ValueError, match=re.escape("whole numbers (20, 9) for next_token, got int64 (20,)")):
        replace(examples, train_labels=examples.train_labels[:, 0])

    assert TensorData(examples).train_labels.shape == (20, 9)


def test_examples_of_a_task_are_named_by_transforms_content_and_scale() -> None:
    images, labels = np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64)
    task = TaskExamples(images, labels, images, labels, images, labels, Source.BUNDLED, "abc")

    assert Examples.of(task, AugmentationKind.DIGITS).key == "digits:abc"
    assert Examples.of(task, AugmentationKind.DIGITS, input_scale=0.3).key == "digits:abc:0.3"
    assert Examples.of(task, AugmentationKind.DIGITS).train_inputs is images


# Permuted images.


def images_of_mnist() -> Examples:
    images, labels = np.zeros((20, 28, 28), np.uint8), np.zeros(20, np.int64)
    return Examples("base", AugmentationKind.SCATTERED, *[images, labels] * 3)


def test_permuted_images_share_their_arrays_and_have_a_name_of_their_own() -> None:
    base, permutation = images_of_mnist(), Permutation.draw(np.random.default_rng(1))

    permuted = PermutedExamples(base, permutation)

    assert permuted.parts == (base,)
    assert permuted.key == f"base:{permutation.key}"
    assert permuted.nbytes == base.nbytes


def test_a_permutation_of_other_images_is_refused() -> None:
    permutation = Permutation.draw(np.random.default_rng(1))

    with pytest.raises(ValueError, match="784 pixels and 10 classes needs images of as many, got images of 144 values"):
        PermutedExamples(examples_of(ExampleKind.IMAGES), permutation)


# Tensors.


@pytest.mark.parametrize("kind", [ExampleKind.TABLES, ExampleKind.SEQUENCES, ExampleKind.IMAGES])
def test_training_inputs_are_standardised_and_the_others_alike(kind: ExampleKind) -> None:
    examples = examples_of(kind)
    data = TensorData(examples)

    channel = 1 if kind is ExampleKind.IMAGES else -1
    others = [d for d in range(data.train_inputs.dim()) if d != channel % data.train_inputs.dim()]
    torch.testing.assert_close(
        data.train_inputs.mean(others), torch.zeros(examples.train_inputs.shape[-1]), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        data.train_inputs.var(others, correction=0), torch.ones(examples.train_inputs.shape[-1]), atol=1e-3, rtol=0
    )
    same = TensorData(replace(examples, test_inputs=examples.train_inputs, test_labels=examples.train_labels))
    assert torch.equal(same.test_inputs, data.train_inputs)
    assert data.train_inputs.dtype == torch.float32


def test_a_constant_column_becomes_zero_and_does_not_blow_up_what_differs_elsewhere() -> None:
    examples = examples_of(ExampleKind.TABLES)
    for inputs in (examples.train_inputs, examples.test_inputs):
        inputs[:, 2] = 7.5
    examples.test_inputs[0, 2] = 8.5

    data = TensorData(examples)

    assert data.train_inputs[:, 2].tolist() == [0.0] * 20
    assert data.test_inputs[:2, 2].tolist() == [1.0, 0.0]


def test_tokens_stay_what_they_are() -> None:
    examples = examples_of(ExampleKind.TOKENS)

    inputs = TensorData(examples).train_inputs

    assert inputs.dtype == torch.int64
    assert inputs.tolist() == examples.train_inputs.tolist()


@pytest.mark.parametrize("kind", [ExampleKind.IMAGES, ExampleKind.TABLES, ExampleKind.SEQUENCES])
def test_the_input_scale_multiplies_what_is_standardised(kind: ExampleKind) -> None:
    plain, scaled = TensorData(examples_of(kind)), TensorData(examples_of(kind, input_scale=0.3))

    for part in ("train", "validation", "test"):
        torch.testing.assert_close(getattr(scaled, f"{part}_inputs"), getattr(plain, f"{part}_inputs") * 0.3)


@kinds
def test_making_tensors_leaves_the_arrays_as_they_are(kind: ExampleKind) -> None:
    examples, before = examples_of(kind), examples_of(kind)

    arrays = arrays_of(TensorData(examples))
    for tensor in arrays.values():
        tensor.zero_()

    assert np.array_equal(examples.train_inputs, before.train_inputs)
    assert np.array_equal(examples.train_labels, before.train_labels)


# Evaluation batches.


def test_the_evaluation_batch_is_an_option_of_the_executor() -> None:
    examples = examples_of(ExampleKind.TABLES)

    assert prepare(examples, {}).evaluation_batch == EVALUATION_BATCH == 64
    assert prepare(examples, {"evaluation_batch": 256, "other": "x"}).evaluation_batch == 256
    with pytest.raises(ValueError, match="evaluation_batch must be at least 1, got 0"):
        prepare(examples, {"evaluation_batch": 0})


def test_the_evaluation_batch_changes_no_weight_and_no_accuracy(images: dict[str, Examples]) -> None:
    config, plan = TrainingConfig(batch_size=32), LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 2)

    def trained(batch: int) -> tuple[str, float, float]:
        data = prepare(images["deeper_cnn"], {"evaluation_batch": batch})
        state, (metrics,) = advance(initial_state(FreshState("deeper_cnn", 1)), config, plan, data)
        return weights_hash(state), metrics.val_accuracy, metrics.val_loss

    one, other = trained(64), trained(7)

    assert one[:2] == other[:2]
    assert one[2] == pytest.approx(other[2], rel=1e-4)
