"""The figures of level 4, on tables whose figures are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.validation import figures
from ml_trainer_env.validation.figures import Kind, Row, Table, rank_correlation


def rows(task: str = "task", scale: float = 1.0, shift: float = 0.0, noise: float = 0.0) -> list[Row]:
    """A floor of 0, an oracle of 1, a trick of 0.2, and references of 0.3 and 0.6; the trick's return is 0.5."""
    earned = [
        ("floor", Kind.FLOOR, 0, 0.0, 0.0),
        ("oracle", Kind.ORACLE, 0, 1.0, 1.0),
        ("trick", Kind.CANARY, 0, 0.2, 0.5),
        ("weak", Kind.REFERENCE, 1, 0.3, 0.3),
        ("strong", Kind.REFERENCE, 2, 0.6, 0.6),
    ]
    return [
        Row(task, name, kind, seed, shift + scale * (verdict + sign * noise), shift + scale * total, tier, "hard")
        for name, kind, tier, verdict, total in earned
        for seed, sign in ((0, -1.0), (1, 1.0))
    ]


def test_figures_of_a_known_table() -> None:
    table = Table(rows())

    assert figures.difficulty_separation(table) == {
        "ordered_pairs": 1.0,
        "pairs": 1,
        "by_difficulty": {"hard": pytest.approx(0.45)},
    }
    assert figures.headroom(table)["mean"] == pytest.approx(0.4)
    assert figures.headroom(table)["saturated"] == 0.0
    assert figures.adversarial_floor(table)["worst"] == pytest.approx(0.2)
    assert figures.gameability_gap(table)["by_policy"] == {
        "floor": 0.0,
        "oracle": 0.0,
        "trick": pytest.approx(0.3),
        "weak": 0.0,
        "strong": 0.0,
    }
    assert figures.training_signal(table)["usable"] == 1.0


def test_noise_is_the_spread_over_seeds() -> None:
    bound = figures.variance_bound(Table(rows(noise=0.1)))

    assert bound["worst"] == pytest.approx(math.sqrt(0.02))
    assert bound["signal_to_noise"]["task"] == pytest.approx(1 / math.sqrt(0.02))


def test_a_task_whose_noise_hides_its_differences_gives_no_signal() -> None:
    assert figures.training_signal(Table(rows(noise=0.5)))["usable"] == 0.0


@given(st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_normalised_figures_do_not_depend_on_the_scale_of_rewards(scale: float, shift: float) -> None:
    one, other = Table(rows()), Table(rows(scale=scale, shift=shift))

    for figure in (figures.headroom, figures.adversarial_floor):
        assert _flat(figure(other)) == pytest.approx(_flat(figure(one)), abs=1e-9)


def test_a_table_without_references_has_all_of_its_headroom() -> None:
    bare = Table([row for row in rows() if row.kind is not Kind.REFERENCE])

    assert figures.headroom(bare)["mean"] == 1.0
    assert math.isnan(figures.difficulty_separation(bare)["ordered_pairs"])


@given(st.lists(st.floats(-9, 9), min_size=2, unique=True))
def test_ranks_correlate_fully_with_those_of_a_rising_function(values: list[float]) -> None:
    assert rank_correlation(values, [value * 3 + 1 for value in range(len(values))]) <= 1.0 + 1e-9
    assert rank_correlation(values, values) == pytest.approx(1.0)
    assert rank_correlation(values, [-value for value in values]) == pytest.approx(-1.0)


def _flat(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for child in value.values() for number in _flat(child)]
    return [value] if isinstance(value, float) else []
