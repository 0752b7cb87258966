"""Pixels find their places again: on digits, and on smooth noise, so that nothing is known of what images show."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permuted_mnist.agent.unscramble import puzzle
from permuted_mnist.agent.unscramble.layout import recover_layout
from permuted_mnist.mnist import load_mnist


def smooth_noise(side: int, count: int, seed: int) -> Any:
    """Images (count, side, side) whose pixels resemble those beside them."""
    noise = np.random.default_rng(seed).standard_normal((count, side + 2, side + 2))
    return sum(
        noise[:, a : a + side, b : b + side] * w
        for a, b, w in ((1, 1, 2.0), (0, 1, 1.0), (2, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0))
    )


def share_in_place(order: Any, side: int, of_interest: Any) -> float:
    """How many of the pixels lie where they should, in the best of the eight ways to turn the image.

    Args:
        order: Place `p` holds pixel `order[p]`, where pixel `i` belongs to place `i`.
        side: Of the images.
        of_interest: Which pixels count.
    """
    grid = np.stack(np.indices((side, side)), -1).reshape(-1, 2)
    places = np.empty_like(grid)
    places[order] = grid
    best = 0.0
    for flipped in (places, places[:, ::-1]):
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            difference = (flipped * signs - grid)[of_interest]
            shift = np.median(difference, axis=0)
            best = max(best, float((difference == shift).all(1).mean()))
    return best


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_smooth_noise_is_put_back_exactly(seed: int) -> None:
    images = smooth_noise(12, 4000, seed).reshape(-1, 144)
    permutation = np.random.default_rng(seed).permutation(144)

    layout = recover_layout(images[:, permutation])

    assert share_in_place(permutation[layout.order], 12, np.arange(144)) == 1.0


@pytest.mark.slow
def test_digits_are_put_back_but_for_a_few_pixels() -> None:
    images = load_mnist().train_images[:8000].reshape(-1, 784) / np.float32(255)
    permutation = np.random.default_rng(5).permutation(784)
    bright = np.flatnonzero(images.std(0) > 0.1)

    layout = recover_layout(images[:, permutation])

    assert share_in_place(permutation[layout.order], 28, bright) > 0.95
    assert sorted(layout.order) == list(range(784))


def test_a_layout_puts_images_back() -> None:
    images = smooth_noise(8, 3000, 0).astype(np.float32)

    restored = recover_layout(images).applied(images)

    assert restored.shape == (3000, 64)
    assert np.array_equal(np.sort(restored, axis=1), np.sort(images.reshape(-1, 64), axis=1))


def test_polishing_never_makes_it_worse() -> None:
    generator = np.random.default_rng(0)
    ties = generator.random((20, 20))
    ties += ties.T
    board = np.full((5, 5), puzzle.EMPTY)
    board.flat[generator.permutation(25)[:20]] = np.arange(20)

    better = puzzle.polished(ties, board)

    assert puzzle.fit(ties, better) >= puzzle.fit(ties, board)
    assert sorted(better[better != puzzle.EMPTY]) == list(range(20))
