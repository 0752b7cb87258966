"""The examples of a task as plain arrays that can be sent to another process. Torch is not imported."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_trainer_env.server.datasets import ExampleKind, Permutation, TargetKind, TaskExamples
from ml_trainer_env.server.datasets.values import CLASS_COUNT
from ml_trainer_env.server.trainer.kinds import AugmentationKind

__all__ = ["Examples", "PermutedExamples", "permuted"]

_FORMS = {
    ExampleKind.IMAGES: ("uint8 (N, height, width) or (N, height, width, channels)", "u", (3, 4)),
    ExampleKind.TABLES: ("float32 (N, columns)", "f", (2,)),
    ExampleKind.SEQUENCES: ("float32 (N, length, channels)", "f", (3,)),
    ExampleKind.TOKENS: ("whole numbers (N, length)", "iu", (2,)),
}
"""Form of the arrays by kind: as text, kinds of dtype, and numbers of dimensions."""

_TRANSFORMS = {
    ExampleKind.IMAGES: frozenset(AugmentationKind),
    ExampleKind.TABLES: frozenset({AugmentationKind.SCATTERED, AugmentationKind.NONE}),
    ExampleKind.SEQUENCES: frozenset({AugmentationKind.SCATTERED, AugmentationKind.NONE}),
    ExampleKind.TOKENS: frozenset({AugmentationKind.NONE}),
}

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """The examples for training, validation and the final test. Shapes and ranges are checked on construction.

    Attributes:
        key: Key of the content. Two values with the same key have the same arrays and settings.
        augmentation: The family of transforms that training may use.
        train_inputs: N examples. Images: uint8 (N, H, W) or (N, H, W, C). Tables: float32 (N, columns).
            Sequences: float32 (N, length, channels). Tokens: whole numbers (N, length), 0 to `vocabulary` - 1.
        train_labels: int64, 0 to `outputs` - 1: (N,) for classes, (N, length) for the next token.
        validation_inputs: The validation examples, in the form of the training inputs.
        validation_labels: Their labels.
        test_inputs: The held-out examples. They are used when a model is submitted.
        test_labels: Their labels.
        kind: The kind of examples.
        target: What a network predicts.
        outputs: Number of classes, or of tokens that may come next.
        vocabulary: Number of different tokens. 0 for examples that are not tokens.
        input_scale: Factor of the standardised inputs.

    Raises:
        ValueError: The arrays or settings do not fit together. The message says what was expected.
    """

    key: str
    augmentation: AugmentationKind
    train_inputs: np.ndarray
    train_labels: np.ndarray
    validation_inputs: np.ndarray
    validation_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    kind: ExampleKind = ExampleKind.IMAGES
    target: TargetKind = TargetKind.CLASSES
    outputs: int = CLASS_COUNT
    vocabulary: int = 0
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        self._check_settings()
        for part in _PARTS:
            self._check_inputs(f"{part}_inputs", getattr(self, f"{part}_inputs"))
            self._check_labels(f"{part}_labels", getattr(self, f"{part}_labels"), getattr(self, f"{part}_inputs"))

    @classmethod
    def of(cls, task: TaskExamples, augmentation: AugmentationKind, input_scale: float = 1.0) -> Self:
        """Create the examples of a task, with the transforms that training may use."""
        scale = "" if input_scale == 1.0 else f":{input_scale!r}"
        return cls(
            key=f"{augmentation}:{task.checksum}{scale}",
            augmentation=augmentation,
            train_inputs=task.train_inputs,
            train_labels=task.train_labels,
            validation_inputs=task.validation_inputs,
            validation_labels=task.validation_labels,
            test_inputs=task.test_inputs,
            test_labels=task.test_labels,
            kind=task.kind,
            target=task.target,
            outputs=task.outputs,
            vocabulary=task.vocabulary,
            input_scale=input_scale,
        )

    @property
    def nbytes(self) -> int:
        """Size of the arrays, in bytes."""
        names = [f"{part}_{half}" for part in _PARTS for half in ("inputs", "labels")]
        return sum(getattr(self, name).nbytes for name in names)

    @property
    def parts(self) -> tuple["Examples", ...]:
        """The parts that other data may share: the value itself."""
        return (self,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of an example, in the form of `NetworkSpec.inputs`."""
        shape = self.train_inputs.shape[1:]
        match self.kind:
            case ExampleKind.IMAGES:
                return (shape[2] if len(shape) == 3 else 1, shape[0], shape[1])
            case ExampleKind.TOKENS:
                return (shape[0], self.vocabulary)
            case _:
                return shape

    def _check_settings(self) -> None:
        if self.augmentation not in _TRANSFORMS[self.kind]:
            allowed = ", ".join(sorted(_TRANSFORMS[self.kind]))
            raise ValueError(f"augmentation of {self.kind} must be one of {allowed}, got {self.augmentation}")
        if (self.vocabulary > 0) != (self.kind is ExampleKind.TOKENS):
            expected = "at least 1 for tokens" if self.kind is ExampleKind.TOKENS else f"0 for {self.kind}"
            raise ValueError(f"vocabulary must be {expected}, got {self.vocabulary}")
        if self.target is TargetKind.NEXT_TOKEN and self.kind is not ExampleKind.TOKENS:
            raise ValueError(f"the target next_token needs tokens, got {self.kind}")
        if self.target is TargetKind.NEXT_TOKEN and self.outputs != self.vocabulary:
            raise ValueError(f"outputs must be the vocabulary, {self.vocabulary}, for next_token, got {self.outputs}")
        if not 0.0 < self.input_scale < float("inf"):
            raise ValueError(f"input_scale must be a number above 0, got {self.input_scale!r}")

    def _check_inputs(self, name: str, inputs: np.ndarray) -> None:
        words, kinds, dimensions = _FORMS[self.kind]
        exact = {"u": np.uint8, "f": np.float32}.get(kinds)
        fits = inputs.dtype == exact if exact else inputs.dtype.kind in kinds
        if not fits or inputs.ndim not in dimensions:
            raise ValueError(f"{name} must be {words} for {self.kind}, got {inputs.dtype} {inputs.shape}")
        if 0 in inputs.shape:
            raise ValueError(f"{name} must not be empty, got {inputs.dtype} {inputs.shape}")
        if inputs.shape[1:] != self.train_inputs.shape[1:]:
            raise ValueError(
                f"{name} must hold examples of the shape {self.train_inputs.shape[1:]} of train_inputs, "
                f"got {inputs.shape[1:]}"
            )
        if self.kind is ExampleKind.TOKENS:
            _check_range(name, inputs, self.vocabulary)
        elif inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
            raise ValueError(f"{name} must be finite, and {int((~np.isfinite(inputs)).sum())} of its values are not")

    def _check_labels(self, name: str, labels: np.ndarray, inputs: np.ndarray) -> None:
        expected = inputs.shape[:2] if self.target is TargetKind.NEXT_TOKEN else inputs.shape[:1]
        if labels.dtype.kind not in "iu" or labels.shape != expected:
            raise ValueError(
                f"{name} must be whole numbers {expected} for {self.target}, got {labels.dtype} {labels.shape}"
            )
        _check_range(name, labels, self.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class PermutedExamples:
    """Images with permuted pixels and classes. Their arrays are those of the original images.

    Attributes:
        base: The original images.
        permutation: The permutation of every image and label.

    Raises:
        ValueError: The permutation does not fit the examples.
    """

    base: Examples
    permutation: Permutation

    def __post_init__(self) -> None:
        values, classes = len(self.permutation.pixels), len(self.permutation.classes)
        pixels = int(np.prod(self.base.train_inputs.shape[1:]))
        if self.base.kind is not ExampleKind.IMAGES or (pixels, self.base.outputs) != (values, classes):
            raise ValueError(
                f"a permutation of {values} pixels and {classes} classes needs images of as many, "
                f"got {self.base.kind} of {pixels} values and {self.base.outputs} classes"
            )

    @property
    def key(self) -> str:
        """Key of the content."""
        return f"{self.base.key}:{self.permutation.key}"

    @property
    def nbytes(self) -> int:
        """Size of the arrays of `base`, in bytes."""
        return self.base.nbytes

    @property
    def parts(self) -> tuple[Examples, ...]:
        """The parts that other data may share: the original images. Other permutations use the same ones."""
        return (self.base,)


def permuted(examples: Examples, permutation: Permutation | None) -> Examples | PermutedExamples:
    """Return the examples under a permutation. None leaves them unchanged."""
    return examples if permutation is None else PermutedExamples(examples, permutation)


def _check_range(name: str, numbers: np.ndarray, count: int) -> None:
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name} must lie in 0 to {count - 1}, got {low} to {high}")
