"""Statistics of comparisons: known cases, and laws that hold for all scores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml_trainer_env.bench.statistics import LEAST, estimate_mean, holm, mean_ranks, paired_p, shares_won

SCORES = st.floats(-2.0, 2.0).map(lambda value: round(value, 3))
SAMPLES = st.lists(SCORES, min_size=LEAST, max_size=12)
P_VALUES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8)


def tables(least_agents: int = 1) -> st.SearchStrategy[np.ndarray]:
    """Scores of shape (tasks, agents), with many ties."""
    few = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    return st.integers(least_agents, 5).flatmap(
        lambda agents: st.lists(st.lists(few, min_size=agents, max_size=agents), min_size=1, max_size=8).map(np.array)
    )


class TestEstimate:
    def test_the_interval_of_a_normal_sample_is_about_that_of_student(self) -> None:
        sample = np.random.default_rng(1).normal(0.5, 0.2, 200)
        found = estimate_mean(sample)
        student = stats.t.interval(0.95, 199, sample.mean(), stats.sem(sample))

        assert (found.low, found.high) == pytest.approx(student, abs=0.005)

    def test_it_covers_the_mean_in_about_95_of_100_samples(self) -> None:
        rng = np.random.default_rng(2)
        found = [estimate_mean(rng.beta(2.0, 4.0, 32)) for _ in range(100)]

        assert 0.88 <= np.mean([one.low <= 1 / 3 <= one.high for one in found]) <= 0.99

    def test_few_values_have_no_interval_and_none_has_no_mean(self) -> None:
        few, none = estimate_mean([0.3] * (LEAST - 1)), estimate_mean([])

        assert (few.mean, few.count) == (pytest.approx(0.3), LEAST - 1)
        assert math.isnan(few.low)
        assert math.isnan(few.high)
        assert estimate_mean([0.3] * LEAST).low == pytest.approx(0.3)
        assert math.isnan(none.mean)
        assert none.count == 0

    @given(SAMPLES)
    @settings(max_examples=25, deadline=None)
    def test_the_ends_enclose_the_mean_and_lie_among_the_values(self, sample: list[float]) -> None:
        found = estimate_mean(sample)

        assert min(sample) - 1e-9 <= found.low <= found.mean + 1e-9
        assert found.mean - 1e-9 <= found.high <= max(sample) + 1e-9

    @given(SAMPLES, st.randoms(use_true_random=False))
    @settings(max_examples=15, deadline=None)
    def test_the_order_of_tasks_makes_no_difference(self, sample: list[float], random) -> None:
        other = list(sample)
        random.shuffle(other)

        assert estimate_mean(other) == estimate_mean(sample)

    @given(SAMPLES, SCORES)
    @settings(max_examples=15, deadline=None)
    def test_a_constant_that_is_added_moves_the_interval_and_nothing_else(
        self, sample: list[float], more: float
    ) -> None:
        found, moved = estimate_mean(sample), estimate_mean([value + more for value in sample])

        for name in ("mean", "low", "high"):
            assert getattr(moved, name) == pytest.approx(getattr(found, name) + more, abs=1e-6)


class TestPairedP:
    def test_five_differences_of_one_sign_have_the_smallest_p_there_is(self) -> None:
        assert paired_p([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 2**5)

    def test_it_is_exact_for_a_case_counted_by_hand(self) -> None:
        # Of the 8 ways to flip 1, 2 and -4, the mean is at most -1/3 in 4 and at least -1/3 in 5.
        assert paired_p([1.0, 2.0, -4.0]) == pytest.approx(2 * 4 / 8)

    @pytest.mark.parametrize("differences", [[], [0.0], [0.0, 0.0, 0.0], [0.7], [1e-15, -1e-15]])
    def test_too_few_differences_and_none_tell_nothing(self, differences: list[float]) -> None:
        assert paired_p(differences) == 1.0

    def test_under_no_effect_5_of_100_are_below_5_percent(self) -> None:
        rng = np.random.default_rng(3)
        found = [paired_p(rng.normal(0.0, 1.0, 10)) for _ in range(100)]

        assert 0.0 < np.mean(np.array(found) <= 0.05) <= 0.11

    def test_a_clear_effect_on_many_tasks_is_found(self) -> None:
        assert paired_p(np.random.default_rng(4).normal(0.1, 0.1, 64)) < 0.001

    @given(SAMPLES, st.randoms(use_true_random=False))
    @settings(max_examples=15, deadline=None)
    def test_neither_order_nor_direction_matters(self, differences: list[float], random) -> None:
        shuffled = list(differences)
        random.shuffle(shuffled)

        found = paired_p(differences)
        assert 0.0 < found <= 1.0
        assert paired_p(shuffled) == found
        assert paired_p([-value for value in differences]) == found


class TestHolm:
    def test_known_values(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([]) == []
        assert holm([0.2]) == [0.2]

    @given(P_VALUES)
    def test_it_lies_between_no_correction_and_bonferroni_and_keeps_the_order(self, values: list[float]) -> None:
        corrected = holm(values)

        for raw, one in zip(values, corrected, strict=True):
            assert raw <= one <= min(1.0, len(values) * raw) + 1e-12
        by_raw = sorted(range(len(values)), key=lambda index: values[index])
        assert [corrected[index] for index in by_raw] == sorted(corrected)


class TestRanks:
    def test_known_values_with_ties(self) -> None:
        scores = [[0.9, 0.5, 0.5], [0.1, 0.8, 0.3]]

        assert mean_ranks(scores) == [2.0, 1.75, 2.25]
        assert shares_won(scores) == [0.5, 0.5, 0.0]
        assert shares_won([[0.4, 0.4, 0.1]]) == [0.5, 0.5, 0.0]

    def test_without_tasks_there_are_no_ranks(self) -> None:
        assert all(map(math.isnan, mean_ranks(np.empty((0, 2)))))
        assert all(map(math.isnan, shares_won(np.empty((0, 2)))))

    @given(tables(), st.integers(0, 10_000))
    def test_they_add_up_and_only_the_order_within_a_task_counts(self, scores: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        other = rng.permutation(scores + rng.uniform(-1.0, 1.0, (len(scores), 1)).round(3), axis=0)
        agents = scores.shape[1]

        assert sum(mean_ranks(scores)) == pytest.approx(agents * (agents + 1) / 2)
        assert sum(shares_won(scores)) == pytest.approx(1.0)
        assert mean_ranks(scores * 2.0) == pytest.approx(mean_ranks(scores))
        assert shares_won(scores * 2.0) == pytest.approx(shares_won(scores))
        assert len(other) == len(scores)

    @given(tables(2), st.randoms(use_true_random=False))
    def test_the_order_of_tasks_and_the_names_of_agents_make_no_difference(self, scores: np.ndarray, random) -> None:
        tasks, agents = list(range(len(scores))), list(range(scores.shape[1]))
        random.shuffle(tasks)
        random.shuffle(agents)

        for measure in (mean_ranks, shares_won):
            found = measure(scores)
            assert measure(scores[tasks][:, agents]) == pytest.approx([found[agent] for agent in agents])
