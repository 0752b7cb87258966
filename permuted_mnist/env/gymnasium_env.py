"""The challenge as a Gymnasium environment: `import permuted_mnist; gymnasium.make("PermutedMNIST-v0")`."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from permuted_mnist.delivery import Delivery
from permuted_mnist.env.confusion import confusion_image, confusion_matrix
from permuted_mnist.predictions import accuracy, as_labels
from permuted_mnist.tasks import CLASSES, SIDE, PermutedTask, Variant, draw_task, load_digits

__all__ = ["PermutedMNIST"]

Observation = dict[str, npt.NDArray[Any]]


class PermutedMNIST(gymnasium.Env[Observation, npt.NDArray[np.int64]]):
    """Learn permuted digits and label the test images.

    Observation: `train_images` float32 (60000, 28, 28) in [0, 1], `train_labels` int64 (60000,), `test_images` float32
    (10000, 28, 28). The bundled images are 8,000 and 2,000; `info["source"]` is then `bundled`. With the competition's
    delivery, images are uint8 from 0 to 255, and labels int64 (60000, 1).

    Action: 10,000 labels, whole numbers from 0 to 9.

    Reward: the share of correct labels.

    Start: each `reset` draws a new task. Within a task, one permutation of the pixels applies to all images, and one
    permutation of the labels to all labels. The same seed gives the same series of tasks.

    End: an episode is one step long.

    Version history: v0, first release.

    Args:
        render_mode: `rgb_array` draws the confusion matrix of the last action.
        variant: `standard` or `hardened`; see `tasks.Variant`.
        data_dir: Folder that may contain `mnist.npz`. The default is the folder in `ML_TRAINER_DATA_DIR`.
        delivery: The form of the observation: `guide` or `competition`; see `delivery.Delivery`.

    Raises:
        DatasetError: The file in the data directory is damaged.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 - Gymnasium's own

    def __init__(
        self,
        render_mode: str | None = None,
        variant: str = Variant.STANDARD,
        data_dir: str | Path | None = None,
        delivery: str = Delivery.GUIDE,
    ) -> None:
        self.render_mode = render_mode
        self._variant = Variant(variant)
        self._delivery = Delivery(delivery)
        self._mnist = load_digits(self._variant, Path(data_dir) if data_dir is not None else None)
        train, test = self._mnist.train_size, self._mnist.test_size
        self.observation_space: Any = spaces.Dict(
            {
                "train_images": _images_space(self._delivery, train),
                "train_labels": _labels_space(self._delivery, train),
                "test_images": _images_space(self._delivery, test),
            }
        )
        self.action_space = spaces.MultiDiscrete(np.full(test, CLASSES))
        self._task: PermutedTask | None = None
        self._confusion = np.zeros((CLASSES, CLASSES), np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw the next task.

        Args:
            seed: Starts a new series of tasks.
            options: Not used.
        """
        super().reset(seed=seed)
        self._task = draw_task(self._mnist, int(self.np_random.integers(2**63)), 0, self._variant)
        self._confusion = np.zeros_like(self._confusion)
        return self._observation(self._task), self._info()

    def step(self, action: npt.NDArray[np.int64]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Grade the labels.

        Args:
            action: A label for each test image: an array or a list, (N,) or (N, 1).

        Raises:
            PredictionError: The action is invalid.
            gymnasium.error.ResetNeeded: There is no task, or it has already been graded.
        """
        if self._task is None:
            raise gymnasium.error.ResetNeeded("call reset before step: a task is graded once")
        task, count = self._task, self._mnist.test_size
        reward = accuracy(action, task.test_labels)
        self._confusion = confusion_matrix(task.test_labels, as_labels(action, count))
        self._task = None
        return self._observation(task), reward, True, False, {**self._info(), "accuracy": reward}

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draw the confusion matrix of the last action as an RGB array. None unless `render_mode` is `rgb_array`."""
        return confusion_image(self._confusion) if self.render_mode == "rgb_array" else None

    def _observation(self, task: PermutedTask) -> Observation:
        """Build an observation. Its arrays are copies, so that a caller may change them."""
        return {
            "train_images": self._delivery.images(task.train_images).copy(),
            "train_labels": self._delivery.labels(task.train_labels).copy(),
            "test_images": self._delivery.images(task.test_images).copy(),
        }

    def _info(self) -> dict[str, Any]:
        return {"source": str(self._mnist.source), "variant": str(self._variant)}


def _images_space(delivery: Delivery, count: int) -> spaces.Box:
    if delivery is Delivery.GUIDE:
        return spaces.Box(0.0, 1.0, (count, SIDE, SIDE), np.float32)
    return spaces.Box(0, 255, (count, SIDE, SIDE), np.uint8)


def _labels_space(delivery: Delivery, count: int) -> spaces.Box:
    return spaces.Box(0, CLASSES - 1, (count,) if delivery is Delivery.GUIDE else (count, 1), np.int64)
