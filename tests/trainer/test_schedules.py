"""Learning rates by epoch, at the corners and under manual changes."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule

plans = st.builds(
    LearningRatePlan,
    schedule=st.sampled_from(list(LrSchedule)),
    base_rate=st.floats(1e-4, 1.0),
    start_epoch=st.integers(0, 50),
    span_epochs=st.integers(1, 100),
    warmup_epochs=st.integers(0, 20),
)


def rates(schedule: LrSchedule, span: int, warmup: int = 0) -> list[float]:
    plan = LearningRatePlan(schedule, 1.0, 0, span, warmup)
    return [plan.rate_at(epoch) for epoch in range(span)]


def test_constant_stays() -> None:
    assert rates(LrSchedule.CONSTANT, 4) == [1.0] * 4


def test_step_multiplies_by_a_tenth_every_third_of_the_span() -> None:
    assert rates(LrSchedule.STEP, 9) == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 3)


def test_cosine_begins_at_the_base_rate_is_half_in_the_middle_and_heads_for_zero() -> None:
    assert rates(LrSchedule.COSINE, 4) == pytest.approx([1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2])


def test_warm_up_is_linear_and_then_the_cosine_spans_the_rest() -> None:
    warmed = rates(LrSchedule.WARMUP_COSINE, 8, warmup=4)

    assert warmed[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warmed[4:] == pytest.approx(rates(LrSchedule.COSINE, 4))


@given(plans, st.integers(0, 200))
def test_a_rate_is_always_positive_and_never_above_the_base(plan: LearningRatePlan, done: int) -> None:
    assert 0.0 < plan.rate_at(plan.start_epoch + done) <= plan.base_rate


@given(plans, st.integers(0, 99), st.floats(1e-4, 1.0))
def test_a_manual_rate_holds_at_its_epoch(plan: LearningRatePlan, done: int, rate: float) -> None:
    epoch = plan.start_epoch + done % plan.span_epochs

    assert plan.with_rate(epoch, rate).rate_at(epoch) == pytest.approx(rate)


@given(plans, st.integers(0, 99), st.floats(1e-4, 1.0))
def test_after_a_manual_rate_the_schedule_only_comes_down_from_it(
    plan: LearningRatePlan, done: int, rate: float
) -> None:
    epoch = plan.start_epoch + done % plan.span_epochs
    adjusted = plan.with_rate(epoch, rate)
    later = [adjusted.rate_at(e) for e in range(epoch, plan.start_epoch + plan.span_epochs)]

    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(later))


def test_a_manual_rate_keeps_the_shape_of_what_is_left() -> None:
    plan = LearningRatePlan(LrSchedule.COSINE, 1.0, 0, 10)

    halved = plan.with_rate(4, plan.rate_at(4) / 2)

    assert [halved.rate_at(e) for e in range(4, 10)] == pytest.approx([plan.rate_at(e) / 2 for e in range(4, 10)])
