"""Steps of the fleet as units of a job: an executor comes to the same states and figures."""

import asyncio

from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.engine import evaluate, first_state, take_step
from ml_trainer_env.server.trainer.fleet.faults import Scenario
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS, REPLICA_FIGURES, STEP_FIGURES
from ml_trainer_env.server.trainer.fleet.settings import CheckpointRead, Cluster, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FreshFleet, state_hash
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
        assert result.figures["gradient_norm/2"] == step.rank_norms[2]
        assert result.figures["gradient_norm/3"] is None
        assert tuple(result.figures) == STEP_FIGURES
    assert len(results) == 3


def test_a_death_ends_the_job_and_names_the_rank(text: Text) -> None:
    scenario = Scenario((faults.Crash(5, (1_500_000,)),))
    (results,) = run(steps(StepSettings(scenario=scenario), text, 9))

    assert [result.figures["stopped"] for result in results] == [None, 5]
    assert results[-1].ends


def test_a_state_is_measured_on_text_that_is_not_trained_on(text: Text) -> None:
    state = take_step(first_state(FreshFleet(SEED)), StepSettings(), text).state
    job = Job(f"{JOBS}:measure_held_out", PREPARE, state.to_state(), StepSettings(), text)
    ((result,),) = run(job)

    assert result.figures == {"held_out_loss": min(CHANCE_LOSS, evaluate(state, text.held_out))}


def test_a_checkpoint_is_measured_as_a_restart_would_read_it(text: Text) -> None:
    state = take_step(first_state(FreshFleet(SEED)), StepSettings(), text).state
    scenario = Scenario((faults.CorruptCheckpoint(0, 9, 9_000, 0.9), faults.MissingOptimizer()))
    reads = [CheckpointRead(Scenario(), 5), CheckpointRead(scenario, 5), CheckpointRead(scenario, None)]
    found = run(*(Job(f"{JOBS}:measure_checkpoint", PREPARE, state.to_state(), read, text) for read in reads))
    sound, damaged, fresh = (result.figures for (result,) in found)

    assert sound == fresh
    assert damaged["probe_loss"] > sound["probe_loss"]
    assert damaged["optimizer_norm"] == 0 < sound["optimizer_norm"]


def test_checksums_tell_the_replica_that_differs(text: Text) -> None:
    settings = StepSettings(scenario=Scenario((faults.DriftingReplica(6, 0, 9_000_000, 0.0),)))
    state = take_step(first_state(FreshFleet(SEED)), settings, text).state
    read = StepSettings(cluster=Cluster(nodes=(5, 6, 7)))
    ((result,),) = run(Job(f"{JOBS}:measure_replicas", PREPARE, state.to_state(), read, text))

    sums = [result.figures[name] for name in REPLICA_FIGURES]
    assert sums[0] == sums[2] != sums[1]
    assert sums[3:] == [None] * 5
