"""Steps of the fleet as units of a job: an executor comes to the same states and figures."""

import asyncio

import pytest

from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.engine import evaluate, first_state, take_step
from ml_trainer_env.server.trainer.fleet.faults import Scenario
from ml_trainer_env.server.trainer.fleet.jobs import STEP_FIGURES
from ml_trainer_env.server.trainer.fleet.settings import Cluster, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FleetState, FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

JOBS = "ml_trainer_env.server.trainer.fleet.jobs"
PREPARE = "ml_trainer_env.server.trainer.fleet.text:prepare"
SEED = 4
LIMIT_S = 60.0


def run(*jobs: Job) -> list[tuple[UnitResult, ...]]:
    async def executed() -> list[tuple[UnitResult, ...]]:
        executor = InProcessExecutor(1, probe=PROBE)
        await executor.start()
        try:
            return [await executor.run(job, LIMIT_S) for job in jobs]
        finally:
            await executor.close()

    return asyncio.run(executed())


def steps(settings: StepSettings, text: Text, count: int) -> Job:
    return Job(f"{JOBS}:train_step", PREPARE, FreshFleet(SEED).to_state(), settings, text, count, unit="step")


def test_a_job_of_steps_comes_to_the_states_and_figures_of_the_engine(text: Text) -> None:
    settings = StepSettings(cluster=Cluster(nodes=(0, 1, 2)))
    (results,) = run(steps(settings, text, 3))

    state = first_state(FreshFleet(SEED))
    for result in results:
        step = take_step(state, settings, text)
        state = step.state
        assert result.digest == state_hash(state)
        assert result.figures["loss"] == step.loss
        assert result.figures["compute_us/2"] == step.times.compute_us[2]
        assert set(result.figures) < set(STEP_FIGURES)
    assert len(results) == 3


def test_a_death_ends_the_job_and_names_the_rank(text: Text) -> None:
    scenario = Scenario((faults.Crash(5, (1_500_000,)),))
    (results,) = run(steps(StepSettings(scenario=scenario), text, 9))

    assert [result.figures["died"] for result in results] == [None, 5]
    assert results[-1].ends


@pytest.mark.parametrize("part", ["held_out", "probe"])
def test_a_state_is_measured_on_text_that_is_not_trained_on(text: Text, part: str) -> None:
    state = take_step(first_state(FreshFleet(SEED)), StepSettings(), text).state
    ((result,),) = run(Job(f"{JOBS}:measure_{part}", PREPARE, state.to_state(), None, text))

    assert result.figures == {f"{part}_loss": evaluate(FleetState.from_state(state.to_state()), getattr(text, part))}
