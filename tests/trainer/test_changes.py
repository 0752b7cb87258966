"""Changes of examples on the way: what changes, what stays, and what is sent."""

import io
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.trainer.changes import Change, ChangedExamples, ChangeKind, changed
from ml_trainer_env.server.trainer.data import TensorData, prepare
from ml_trainer_env.server.trainer.engine import initial_state
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.jobs import measure_hidden, measure_test_accuracy
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.state import FreshState

PARTS = ("train", "validation", "test")
SHAPES = {
    ExampleKind.IMAGES: (14, 14, 3),
    ExampleKind.TABLES: (5,),
    ExampleKind.SEQUENCES: (12, 4),
    ExampleKind.TOKENS: (9,),
}
VOCABULARY = 30

kinds = pytest.mark.parametrize("kind", ExampleKind)
drifting_kinds = pytest.mark.parametrize("kind", [kind for kind in ExampleKind if kind is not ExampleKind.TOKENS])


def examples_of(kind: ExampleKind, target: TargetKind = TargetKind.CLASSES, **changes: Any) -> Examples:
    source, arrays = np.random.default_rng(3), {}
    for part, count in zip(PARTS, (200, 30, 40), strict=True):
        shape = (count, *SHAPES[kind])
        match kind:
            case ExampleKind.IMAGES:
                inputs: np.ndarray = source.integers(0, 256, shape, dtype=np.uint8)
            case ExampleKind.TOKENS:
                inputs = source.integers(0, VOCABULARY, shape).astype(np.uint8)
            case _:
                inputs = source.normal(5.0, 3.0, shape).astype(np.float32)
        arrays[f"{part}_inputs"] = inputs
        is_next = target is TargetKind.NEXT_TOKEN
        arrays[f"{part}_labels"] = np.roll(inputs, -1, 1).astype(int) if is_next else source.integers(0, 10, count)
    told = {
        "key": "k",
        "augmentation": AugmentationKind.NONE,
        "kind": kind,
        "target": target,
        "vocabulary": VOCABULARY if kind is ExampleKind.TOKENS else 0,
        "outputs": VOCABULARY if target is TargetKind.NEXT_TOKEN else 10,
    }
    return Examples(**{**told, **arrays, **changes})


# Values.


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("rain", 0.5, 0), "kind of change must be one of none, noisy_labels, drift, got 'rain'"),
        (("drift", 0.0, 0), "strength must be a number in (0, 1], got 0.0"),
        (("drift", 0.5, -1), "seed must be a whole number in [0, "),
    ],
)
def test_a_change_out_of_bounds_is_refused(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Change(*values)


def test_no_change_leaves_the_examples_as_they_are() -> None:
    base, none = examples_of(ExampleKind.TABLES), Change("none", 0.5, 0)

    assert changed(base, None) is base
    assert changed(base, none) is base
    with pytest.raises(ValueError, match="changed examples need a change, got none"):
        ChangedExamples(base, none)


def test_every_part_of_a_change_is_part_of_the_key() -> None:
    base = examples_of(ExampleKind.TABLES)
    changes = [
        Change("drift", 0.5, 1),
        Change("noisy_labels", 0.5, 1),
        Change("drift", 0.4, 1),
        Change("drift", 0.5, 2),
    ]

    keys = {changed(base, change).key for change in changes}

    assert len(keys | {base.key}) == 5


@kinds
def test_changed_examples_share_their_arrays_with_the_base(kind: ExampleKind) -> None:
    base = examples_of(kind)
    one = ChangedExamples(base, Change("drift", 0.5, 1))

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> str | None:
            return "base" if value is base else None

    file = io.BytesIO()
    Pickler(file).dump(one)
    copy = pickle.loads(pickle.dumps(one))

    assert one.parts == (base,)
    assert one.nbytes == base.nbytes
    assert len(file.getvalue()) < 500
    assert (copy.key, copy.change) == (one.key, one.change)


# Noisy labels.


@kinds
@given(strength=st.floats(0.01, 1.0), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=20, deadline=None)
def test_the_share_of_wrong_training_labels_is_the_strength_and_nothing_else_changes(
    kind: ExampleKind, strength: float, seed: int
) -> None:
    base = examples_of(kind)
    plain, noisy = TensorData(base), TensorData(ChangedExamples(base, Change("noisy_labels", strength, seed)))

    wrong = noisy.train_labels != plain.train_labels
    assert int(wrong.sum()) == round(strength * 200)
    assert int(noisy.train_labels.min()) >= 0
    assert int(noisy.train_labels.max()) < 10
    for part in PARTS:
        assert torch.equal(getattr(noisy, f"{part}_inputs"), getattr(plain, f"{part}_inputs"))
    for part in PARTS[1:]:
        assert torch.equal(getattr(noisy, f"{part}_labels"), getattr(plain, f"{part}_labels"))


def test_labels_of_every_place_can_become_wrong() -> None:
    base = examples_of(ExampleKind.TOKENS, TargetKind.NEXT_TOKEN)

    noisy = TensorData(ChangedExamples(base, Change("noisy_labels", 0.25, 3)))

    assert int((noisy.train_labels != TensorData(base).train_labels).sum()) == 450


# Drift.


@drifting_kinds
@given(strength=st.floats(0.05, 1.0), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=15, deadline=None)
def test_drift_changes_the_inputs_of_all_parts_by_the_same_map(kind: ExampleKind, strength: float, seed: int) -> None:
    base = examples_of(kind)
    same = examples_of(kind, test_inputs=base.train_inputs, test_labels=base.train_labels)
    plain, drifted = TensorData(same), TensorData(ChangedExamples(same, Change("drift", strength, seed)))

    assert torch.equal(drifted.test_inputs, drifted.train_inputs)
    for part in PARTS:
        before, after = getattr(plain, f"{part}_inputs"), getattr(drifted, f"{part}_inputs")
        assert (after.shape, after.stride(), after.dtype) == (before.shape, before.stride(), before.dtype)
        assert bool(torch.isfinite(after).all())
        assert float((after - before).abs().mean()) > 0.2 * strength
        assert torch.equal(getattr(drifted, f"{part}_labels"), getattr(plain, f"{part}_labels"))


def test_drift_is_an_affine_map_of_half_of_the_columns() -> None:
    base = examples_of(ExampleKind.TABLES)
    plain, drifted = TensorData(base), TensorData(ChangedExamples(base, Change("drift", 1.0, 5)))

    moved = (drifted.train_inputs != plain.train_inputs).any(0)
    assert int(moved.sum()) == 3
    gains = drifted.train_inputs.std(0) / plain.train_inputs.std(0)
    assert all(round(float(gain), 3) in (0.5, 2.0) for gain in gains[moved])
    torch.testing.assert_close(drifted.train_inputs.mean(0)[moved].abs(), torch.ones(3), atol=1e-4, rtol=0)


def test_drifting_images_are_shifted_and_black_moves_in() -> None:
    base = examples_of(ExampleKind.IMAGES)
    plain, drifted = TensorData(base), TensorData(ChangedExamples(base, Change("drift", 1.0, 5)))
    shift = ChangedExamples(base, Change("drift", 1.0, 5)).drift()
    assert shift is not None
    assert (abs(shift.rows), abs(shift.columns)) == (2, 2)

    rows = slice(2, None) if shift.rows > 0 else slice(None, -2)
    edge = slice(0, 2) if shift.rows > 0 else slice(-2, None)
    columns, back = (slice(2, None), slice(None, -2))[:: 1 if shift.columns > 0 else -1]
    back_rows = slice(None, -2) if shift.rows > 0 else slice(2, None)
    gain, offset = float(shift.gain[0]), float(shift.offset[0])
    torch.testing.assert_close(
        drifted.train_inputs[:, :, rows, columns], plain.train_inputs[:, :, back_rows, back] * gain + offset
    )
    torch.testing.assert_close(
        drifted.train_inputs[:, :, edge], drifted.black.view(1, 3, 1, 1).expand(200, 3, 2, 14), rtol=0, atol=0
    )
    torch.testing.assert_close(drifted.black, plain.black * gain + offset)


@drifting_kinds
def test_the_input_scale_multiplies_drifted_inputs_too(kind: ExampleKind) -> None:
    change = Change("drift", 0.7, 1)
    one = TensorData(ChangedExamples(examples_of(kind), change))
    scaled = TensorData(ChangedExamples(examples_of(kind, input_scale=0.3), change))

    torch.testing.assert_close(scaled.test_inputs, one.test_inputs * 0.3)


@given(strength=st.floats(0.05, 1.0), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=15, deadline=None)
def test_drifting_tokens_are_exchanged_one_for_one(strength: float, seed: int) -> None:
    base = examples_of(ExampleKind.TOKENS, TargetKind.NEXT_TOKEN)
    plain, drifted = TensorData(base), TensorData(ChangedExamples(base, Change("drift", strength, seed)))

    pairs = set(zip(plain.train_inputs.flatten().tolist(), drifted.train_inputs.flatten().tolist(), strict=True))
    mapping = dict(pairs)
    assert len(mapping) == len(pairs) == len(set(mapping.values()))
    share = float((plain.train_inputs != drifted.train_inputs).float().mean())
    assert 0.5 * strength <= share < 0.5 * strength + 0.15
    for part in PARTS:
        for half in ("inputs", "labels"):
            before, after = getattr(plain, f"{part}_{half}"), getattr(drifted, f"{part}_{half}")
            assert after.flatten().tolist() == [mapping[token] for token in before.flatten().tolist()]


@kinds
@pytest.mark.parametrize("change", [ChangeKind.NOISY_LABELS, ChangeKind.DRIFT])
def test_changed_tensors_leave_the_base_as_it_was_and_remember_it(kind: ExampleKind, change: ChangeKind) -> None:
    base, before = examples_of(kind), examples_of(kind)

    data = prepare(ChangedExamples(base, Change(change, 1.0, 3)), {"evaluation_batch": 32})
    data.train_inputs.zero_()
    data.train_labels.zero_()

    assert np.array_equal(base.train_inputs, before.train_inputs)
    assert np.array_equal(base.train_labels, before.train_labels)
    assert data.unchanged.evaluation_batch == 32
    assert torch.equal(data.unchanged.train_inputs, TensorData(before).train_inputs)
    plain = TensorData(base)
    assert plain.unchanged is plain


# The hidden measurement.


def test_hidden_figures_are_accuracy_and_loss_on_the_test_part() -> None:
    base = examples_of(ExampleKind.TABLES)
    spec = NetworkSpec("mlp", (5,), 10, depth=1, width=8, examples="tables")
    state, data = initial_state(FreshState(spec.name, 1)).to_state(), TensorData(base)

    hidden = measure_hidden(state, "hidden", data, lambda: False)

    assert hidden.state is None
    assert list(hidden.figures) == ["hidden_accuracy", "hidden_loss"]
    accuracy = measure_test_accuracy(state, None, data, lambda: False).figures["test_accuracy"]
    assert hidden.figures["hidden_accuracy"] == accuracy
    assert 1.5 < float(hidden.figures["hidden_loss"] or 0.0) < 4.0
    assert hidden.ends
