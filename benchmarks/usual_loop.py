"""The training loop most people write, to measure ours against.

Pillow images one by one through torchvision transforms, a DataLoader, a plain optimizer, `.item()`
on every loss. Same network, same initial weights, same images, batch 64, fp32 as ours.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import find_network
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.state import TrainingState

__all__ = ["AUGMENTED", "BATCH_SIZE", "UsualLoop"]

BATCH_SIZE = 64

# The transforms that come closest to `server/trainer/augmentation.py` at strength 1.
_RECIPES: dict[AugmentationKind, list[Callable[..., object]]] = {
    AugmentationKind.DIGITS: [transforms.RandomAffine(15, translate=(3 / 28, 3 / 28), scale=(0.85, 1.15))],
    AugmentationKind.CLOTHES: [transforms.RandomHorizontalFlip(), transforms.RandomCrop(28, padding=3)],
    AugmentationKind.OBJECTS: [
        transforms.RandomHorizontalFlip(),
        transforms.RandomCrop(32, padding=4),
        transforms.ColorJitter(0.25, 0.25, 0.25),
    ],
}

AUGMENTED = frozenset(_RECIPES)
"""Families of transforms that the usual loop has."""


class _Images(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[..., Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class UsualLoop:
    """A run of the usual loop.

    Args:
        state: Where to start.
        data: The images.
        augment: Whether to transform the training images.
        anneal_epochs: Epochs over which the rate goes to zero along a cosine, None for a constant rate.
    """

    def __init__(self, state: TrainingState, data: Examples, augment: bool, anneal_epochs: int | None = None) -> None:
        pixels = data.train_inputs.reshape(-1, data.train_inputs.shape[3] if data.train_inputs.ndim == 4 else 1) / 255.0
        last: list[Callable[..., object]] = [
            transforms.ToTensor(),
            transforms.Normalize(pixels.mean(0).tolist(), pixels.std(0).tolist()),
        ]
        recipe = _RECIPES[data.augmentation] if augment else []
        train = _Images(data.train_inputs, data.train_labels, transforms.Compose([*recipe, *last]))
        validation = _Images(data.validation_inputs, data.validation_labels, transforms.Compose(last))
        self._train = DataLoader(train, batch_size=BATCH_SIZE, shuffle=True)
        self._validation = DataLoader(validation, batch_size=BATCH_SIZE)
        self._network: nn.Module = build_network(find_network(state.network), state.weights).to(
            memory_format=torch.contiguous_format
        )
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=0.001)
        self._schedule = (
            torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, anneal_epochs) if anneal_epochs else None
        )

    def epoch(self) -> float:
        """Train for an epoch and return the validation accuracy."""
        self._network.train()
        total_loss, correct = 0.0, 0
        for images, labels in self._train:
            self._optimizer.zero_grad()
            logits = self._network(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            self._optimizer.step()
            total_loss += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
        if self._schedule is not None:
            self._schedule.step()
        return self._accuracy()

    def _accuracy(self) -> float:
        self._network.eval()
        correct, loss = 0, 0.0
        with torch.no_grad():
            for images, labels in self._validation:
                logits = self._network(images)
                loss += F.cross_entropy(logits, labels).item() * len(labels)
                correct += (logits.argmax(1) == labels).sum().item()
        return correct / len(self._validation.dataset)  # type: ignore[arg-type]  # it has a length
