"""OpenEnv's harness drives episodes: its loop, its collector, and its rollout function for trainers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from openenv.core.harness import HarnessRunLimits, MCPHarnessAdapter, ModelStepResult, build_harness_rollout_func
from openenv.core.harness.collect import CollectRunner, RolloutSerializer
from openenv.core.llm_client import LLMResponse, ToolCall

from ml_trainer_env import FleetEnv
from ml_trainer_env.integrations.openenv_harness import EpisodeSessionFactory

TASK = "tuning/validation/0"
GOOD = [("run_epochs", {"num_epochs": 2}), ("submit_model", {})]

Turn = Sequence[tuple[str, dict[str, Any]]]


def agent(*turns: Turn) -> Callable[..., ModelStepResult]:
    """An agent that makes the calls of its turns, the same in each episode, and has nothing more to say after them."""

    def step(messages: list[dict[str, Any]], _tools: object, _sampling: object) -> ModelStepResult:
        number = sum(message["role"] == "assistant" for message in messages)
        calls = turns[number] if number < len(turns) else ()
        made = [ToolCall(id=f"{number}-{place}", name=name, args=args) for place, (name, args) in enumerate(calls)]
        return ModelStepResult(response=LLMResponse(content="", tool_calls=made), prompt_ids=[1], completion_ids=[2])

    return step


@pytest.fixture
def factory(live_server: str) -> EpisodeSessionFactory:
    return EpisodeSessionFactory(live_server)


@pytest.mark.slow
def test_the_collector_writes_an_episode_a_task_with_the_reward_of_the_whole_episode(
    factory: EpisodeSessionFactory, tmp_path: Path
) -> None:
    written = RolloutSerializer(tmp_path)
    tasks = [{"task_id": TASK, "seed": 1}, TASK]
    runner = CollectRunner(
        session_factory=factory, harness_adapter=MCPHarnessAdapter(), serializer=written, tasks=tasks
    )

    result = runner.run(model_step=agent(GOOD[:1], GOOD[1:]), num_episodes=2)

    records = [json.loads(line) for line in written.results_path.read_text(encoding="utf-8").splitlines()]
    assert (result.num_collected, result.num_failed) == (2, 0)
    assert records[0]["artifacts"]["seed"] == 1
    for record in records:
        paid = [entry["result"]["data"]["reward"] for entry in record["tool_trace"]]
        assert record["done"]
        assert record["reward"] == pytest.approx(sum(paid))
        assert record["verify_metrics"]["score"] == record["tool_trace"][-1]["result"]["data"]["score"]
        assert record["artifacts"]["task_id"] == TASK


@pytest.mark.slow
def test_collecting_again_under_the_same_names_begins_new_episodes(
    factory: EpisodeSessionFactory, tmp_path: Path
) -> None:
    for place in ("first", "second"):
        runner = CollectRunner(
            session_factory=factory,
            harness_adapter=MCPHarnessAdapter(),
            serializer=RolloutSerializer(tmp_path / place),
            tasks=[TASK],
        )
        assert runner.run(model_step=agent(GOOD), num_episodes=1).num_collected == 1


@pytest.mark.slow
def test_the_rollout_function_of_trainers_pays_the_reward_of_the_episode(factory: EpisodeSessionFactory) -> None:
    rollout = build_harness_rollout_func(
        session_factory=factory,
        harness_adapter=MCPHarnessAdapter(),
        model_step_builder=lambda trainer, _session: trainer,
    )

    came = rollout([TASK, {"task_id": TASK, "seed": 5}], agent(GOOD))

    assert [len(ids) for ids in came["completion_ids"]] == [1, 1]
    scores = [metrics["score"] for metrics in came["verify_metrics"]]
    assert all(0 < reward - score < 0.05 for reward, score in zip(came["env_reward"], scores, strict=True))


def test_a_refused_call_is_told_to_the_model_and_the_rollout_goes_on(factory: EpisodeSessionFactory) -> None:
    session = factory.create(TASK)
    wrong = [("run_epochs", {"num_epochs": 99}), ("no_such_tool", {})]

    rollout = MCPHarnessAdapter().run_white_box(agent(wrong, GOOD), session)
    verified = session.verify(rollout.messages)
    session.close()

    answers = [message["content"] for message in rollout.messages if message["role"] == "tool"]
    assert "num_epochs" in answers[0]
    assert "no_such_tool" in answers[1]
    assert verified.done


def test_an_episode_that_was_not_ended_has_its_rewards_and_no_score(factory: EpisodeSessionFactory) -> None:
    session = factory.create(TASK)

    rollout = MCPHarnessAdapter().run_white_box(agent(GOOD[:1]), session, HarnessRunLimits(max_turns=3))
    verified = session.verify(rollout.messages)
    session.close()

    assert not verified.done
    assert verified.metrics == {}
    assert verified.env_reward == rollout.tool_trace[-1].result.metadata["reward"]


def test_the_tools_of_a_session_are_the_games(live_server: str) -> None:
    session = EpisodeSessionFactory(f"{live_server}/fleet", client=FleetEnv).create("fleet/validation/0", seed=3)
    names = [tool.name for tool in session.list_tools()]
    told = session.initial_messages()[0]["content"]
    session.close()

    assert "run_steps" in names
    assert "8 ranks" in told
