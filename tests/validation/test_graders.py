"""Each grader passes an honest environment and sees the flaw that it is for."""

import pytest
from openenv.validation.types import CheckStatus
from toy_environment import Flaw

from ml_trainer_env.validation.runtime_checks import EpisodeDeterminism
from ml_trainer_env.validation.semantic_checks import FloorGap, OracleMax

SEEN_BY = {
    Flaw.WEAK_ORACLE: OracleMax,
    Flaw.PAYS_FOR_NOTHING: FloorGap,
    Flaw.RANDOM: EpisodeDeterminism,
}


@pytest.mark.parametrize("grader", sorted(set(SEEN_BY.values()), key=lambda one: one.check_id))
def test_an_honest_environment_passes(grader, subject_of) -> None:
    result = grader().run(subject_of())

    assert result.status is CheckStatus.PASS, result.evidence
    assert result.evidence


@pytest.mark.parametrize(("flaw", "grader"), SEEN_BY.items())
def test_a_flaw_is_seen_by_its_grader(flaw, grader, subject_of) -> None:
    result = grader().run(subject_of(flaw))

    assert result.status is CheckStatus.FAIL, result.evidence
    assert result.remediation
