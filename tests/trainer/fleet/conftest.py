"""A small text, and scenarios drawn for laws."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ml_trainer_env.server.trainer.fleet.text import VOCABULARY, Text


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads may split the product of one rank otherwise than the products of all ranks at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def text() -> Text:
    """Characters that follow from the two before, with some noise, so that there is something to learn."""
    source = np.random.default_rng(5)

    def draw(length: int) -> np.ndarray:
        characters = source.integers(0, 9, length)
        for at in range(2, length):
            if characters[at] < 7:
                characters[at] = (3 * characters[at - 1] + characters[at - 2]) % VOCABULARY
        return characters.astype(np.uint8)

    return Text.of({"shards": np.stack([draw(600) for _ in range(16)]), "probe": draw(900), "held_out": draw(900)})
