"""A small text, and scenarios drawn for laws."""

import numpy as np
import pytest

from ml_trainer_env.server.trainer.fleet.text import VOCABULARY, Text


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
