"""The twelve faults of an earlier attempt (DESIGN 6), each as a test that fails where the fault is there.

The rules of the game are tested on the episode itself, over real training. Fault 8 (parallel sessions disturb each
other), fault 11 (one slot, held for ever) and the server's side of fault 10 (a zombie trains on) are tested in
test_server_processes.py, where the servers with settings of their own are.
"""

import asyncio
from typing import Any

import httpx
import openenv.core.env_server.mcp_environment as openenv_mcp
import pytest

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.episodes.call_counts import CALLS_AFTER_BUDGET, MAX_CHANGES
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.trainer.state import TrainingState

FIGURES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")


def figures(reply: dict[str, Any]) -> list[tuple[float, ...]]:
    """What each epoch of a run came to; the wall time aside, which nothing fixes."""
    return [tuple(row[name] for name in FIGURES) for row in reply["epochs"]]


class TestFault01BudgetIsRefunded:
    """1. Changing dropout refunded the epoch budget."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda episode: episode.configure({"dropout": 0.3}),
            lambda episode: episode.configure({"optimizer": "sgd", "batch_size": 256}),
            lambda episode: episode.configure({"lr_schedule": "cosine"}),
            lambda episode: episode.configure({}, reinitialize=True),
            lambda episode: episode.configure({"dropout": 0.3}, reinitialize=True),
            lambda episode: episode.restore_checkpoint("early"),
        ],
        ids=["dropout", "optimizer", "schedule", "fresh weights", "fresh weights and dropout", "restore"],
    )
    def test_fault_01_no_change_refunds_an_epoch(self, new_episode: Any, run: Any, change: Any) -> None:
        async def play() -> list[int]:
            episode = new_episode()
            await episode.run_epochs(1)
            await episode.save_checkpoint("early")
            await episode.run_epochs(1)
            changed = await change(episode)
            trained = await episode.run_epochs(1)
            return [changed["remaining_budget"], trained["remaining_budget"], trained["current_epoch"]]

        assert run(play()) == [98, 97, 3]

    @pytest.mark.slow
    def test_fault_01_the_budget_ends_however_often_dropout_changes(self, new_session: Any, run: Any) -> None:
        async def play() -> tuple[int, str]:
            session = new_session()
            await session.environment.reset_async(task_id="hard_cifar")
            for number in range(6):
                await session.reply("configure_training", dropout=number / 20)
                await session.reply("run_epochs", num_epochs=20 if number < 2 else 5)
            return len(session.executor.jobs), (await session.call("run_epochs", num_epochs=1))["error"]

        epochs, refusal = run(play())

        assert epochs == 60
        assert "budget of 60 epochs is used up" in refusal


def test_fault_02_looking_pays_nothing(new_episode: Any, run: Any) -> None:
    async def play(looks: int) -> tuple[float, float, list[float]]:
        episode = new_episode()
        looked, earned = [], 0.0
        for _ in range(2):
            earned += (await episode.run_epochs(1))["reward"]
            looked += [(await episode.status())["reward"] for _ in range(looks)]
            looked += [(await episode.list_checkpoints())["reward"] for _ in range(looks)]
        submitted = (await episode.submit())["reward"]
        looked += [(await episode.status())["reward"]]
        return earned, submitted, looked

    (earned, submitted, looked), (earned_without, submitted_without, _) = run(play(5)), run(play(0))

    assert set(looked) == {0.0}
    assert (earned, submitted) == (earned_without, submitted_without)


class TestFault03TheGradeIsPaidTwiceOrNever:
    """3. Automatic submission paid the grade twice, explicit submission never."""

    def test_fault_03_an_explicit_submission_pays_the_grade_once(self, new_episode: Any, run: Any) -> None:
        async def play() -> tuple[dict[str, Any], list[float]]:
            episode = new_episode()
            await episode.run_epochs(1)
            submitted = await episode.submit()
            with pytest.raises(EpisodeError, match="over"):
                await episode.submit()
            return submitted, [(await episode.status())["reward"], (await episode.list_checkpoints())["reward"]]

        submitted, later = run(play())

        assert submitted["reward"] == submitted["score"] == submitted["reward_parts"]["submission"] > 0
        assert later == [0.0, 0.0]

    @pytest.mark.slow
    def test_fault_03_the_sixtieth_change_submits_and_pays_the_grade_once(self, new_session: Any, run: Any) -> None:
        async def play() -> list[dict[str, Any]]:
            session = new_session()
            await session.environment.reset_async()
            answers = [await session.call("run_epochs", num_epochs=1) for _ in range(MAX_CHANGES)]
            return [*answers, *[await session.call("submit_model") for _ in range(3)]]

        answers = run(play())

        assert [answer["done"] for answer in answers] == [False] * 59 + [True] * 4
        score = answers[59]["reply"]["score"]
        parts = [answer["reply"]["reward_parts"]["submission"] for answer in answers[:60]]
        assert parts == [0.0] * 59 + [score]
        assert [answer["reward"] for answer in answers[60:]] == [0.0] * 3
        assert all(answer["error"] for answer in answers[60:])

    @pytest.mark.parametrize("tool", ["get_training_status", "list_checkpoints", "submit_late", "run_epochs"])
    def test_fault_03_the_fifth_call_after_the_budget_submits_and_pays_the_grade_once(
        self, new_session: Any, run: Any, tool: str
    ) -> None:
        async def play() -> tuple[list[dict[str, Any]], dict[str, Any]]:
            session = new_session()
            await session.environment.reset_async(task_id="hard_cifar")
            for _ in range(3):
                await session.reply("run_epochs", num_epochs=20)
            late = {"submit_late": ("get_training_status", {}), "run_epochs": ("run_epochs", {"num_epochs": 1})}
            name, arguments = late.get(tool, (tool, {}))
            answers = [await session.call(name, **arguments) for _ in range(CALLS_AFTER_BUDGET - 1)]
            if tool == "submit_late":
                name, arguments = "submit_model", {}
            answers.append(await session.call(name, **arguments))
            return answers, await session.call("get_training_status")

        answers, after = run(play())

        assert [answer["done"] for answer in answers] == [False] * 4 + [True]
        assert [answer["reward"] for answer in answers[:4]] == [0.0] * 4
        assert answers[4]["reward"] == answers[4]["reply"]["score"] > 0
        assert (after["reward"], after["done"]) == (0.0, True)


class TestFault04UntrainedSubmit:
    """4. An untrained submit scored 0.4 to 0.5."""

    @pytest.mark.parametrize("task_id", ["easy_mnist", "medium_fashion", "hard_cifar"])
    def test_fault_04_an_untrained_submit_is_refused(self, new_session: Any, run: Any, task_id: str) -> None:
        async def play() -> dict[str, Any]:
            session = new_session()
            await session.environment.reset_async(task_id=task_id)
            return await session.call("submit_model")

        answer = run(play())

        assert "call run_epochs first" in answer["error"]
        assert (answer["reward"], answer["done"]) == (0.0, False)

    @pytest.mark.parametrize("rubric", ["v1", "v2"])
    def test_fault_04_an_untrained_model_that_is_submitted_by_itself_is_worth_nothing(
        self, new_session: Any, run: Any, rubric: str
    ) -> None:
        async def play() -> list[dict[str, Any]]:
            session = new_session()
            await session.environment.reset_async(task_id="hard_cifar", rubric=rubric)
            return [await session.call("configure_training", dropout=number % 2 / 2) for number in range(MAX_CHANGES)]

        answers = run(play())

        assert answers[-1]["done"] is True
        assert answers[-1]["reply"]["score"] == 0.0
        assert {answer["reward"] for answer in answers} == {0.0}


def test_fault_05_toggling_augmentation_changes_the_training(new_episode: Any, run: Any) -> None:
    async def play(*toggles: bool) -> dict[str, Any]:
        episode = new_episode()
        for enabled in toggles:
            toggled = await episode.toggle_augmentation(enabled, 1.0)
            assert toggled["configuration"]["augmentation"] is enabled
        return await episode.run_epochs(1)

    plain, augmented, back_again = run(play()), run(play(True)), run(play(True, False))

    assert figures(augmented) != figures(plain)
    assert figures(back_again) == figures(plain)


class TestFault06MomentumIsDropped:
    """6. Every configuration call dropped momentum."""

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    def test_fault_06_a_call_between_two_epochs_changes_nothing_it_does_not_name(
        self, new_episode: Any, run: Any, optimizer: str
    ) -> None:
        async def play(interrupted: bool) -> list[tuple[float, ...]]:
            episode = new_episode()
            await episode.configure({"optimizer": optimizer, "learning_rate": 0.01})
            rows = figures(await episode.run_epochs(1))
            if interrupted:
                await episode.configure({"optimizer": optimizer})
                await episode.configure({"augmentation_strength": 0.9})  # augmentation itself is off
                await episode.toggle_augmentation(False)
            return rows + figures(await episode.run_epochs(1))

        assert run(play(True)) == run(play(False))

    def test_fault_06_momentum_outlives_a_change(self, new_episode: Any, run: Any) -> None:
        async def play() -> list[Any]:
            episode = new_episode()
            await episode.configure({"optimizer": "sgd"})
            await episode.run_epochs(1)
            states = [TrainingState.from_state(episode.run.model.state).optimizer]
            await episode.configure({"dropout": 0.2, "weight_decay": 0.01, "batch_size": 256, "learning_rate": 0.1})
            states.append(TrainingState.from_state(episode.run.model.state).optimizer)
            return states

        before, after = run(play())

        assert all(after[name] is array for name, array in before.items())
        assert any(array.any() for array in before.values())


class TestFault07TheScheduleOverwritesTheRate:
    """7. A manual learning rate was overwritten by the schedule at the next epoch."""

    @pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "warmup_cosine"])
    def test_fault_07_a_manual_rate_holds_and_the_schedule_goes_on_from_it(
        self, new_session: Any, run: Any, schedule: str
    ) -> None:
        async def play() -> list[float]:
            session = new_session()
            await session.environment.reset_async(task_id="hard_cifar")
            await session.reply("configure_training", learning_rate=0.01, lr_schedule=schedule, warmup_epochs=3)
            await session.reply("run_epochs", num_epochs=5)
            adjusted = await session.reply("adjust_learning_rate", new_lr=0.5)
            trained = await session.reply("run_epochs", num_epochs=20)
            more = await session.reply("run_epochs", num_epochs=20)
            rows = [*trained["epochs"], *more["epochs"]]
            return [adjusted["learning_rate"], *[row["learning_rate"] for row in rows]]

        shown, first, *rest = run(play())

        assert shown == first == pytest.approx(0.5)
        assert all(later <= earlier for earlier, later in zip([first, *rest], rest, strict=False))
        expected_end = {"constant": 0.5, "step": 0.005}
        assert rest[-1] == pytest.approx(expected_end.get(schedule, rest[-1]))
        assert schedule == "constant" or rest[-1] < 0.25

    def test_fault_07_a_later_change_of_another_setting_keeps_the_manual_rate(self, new_session: Any, run: Any) -> None:
        async def play() -> float:
            session = new_session()
            await session.environment.reset_async()
            await session.reply("configure_training", lr_schedule="cosine")
            await session.reply("run_epochs", num_epochs=2)
            await session.reply("adjust_learning_rate", new_lr=0.5)
            await session.reply("configure_training", dropout=0.1)
            return (await session.reply("run_epochs", num_epochs=1))["epochs"][0]["learning_rate"]

        assert run(play()) == pytest.approx(0.5)


def test_fault_09_an_unknown_task_is_an_error_that_lists_the_tasks(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        with pytest.raises(RuntimeError, match=r"'easy_minst'.*easy_mnist, medium_fashion, hard_cifar"):
            env.reset(task_id="easy_minst")
        assert env.state().task_id is None

    refused = httpx.post(f"{live_server}/reset", json={"task_id": "easy_minst"}, trust_env=False)
    assert refused.status_code == 422
    assert "easy_mnist, medium_fashion, hard_cifar" in refused.json()["detail"]


class TestFault10AZombieTrainsOn:
    """10. 20 epochs ran past the 30 s tool limit and went on as a zombie."""

    @pytest.mark.parametrize("way", ["step_async", "step"])
    def test_fault_10_the_tool_limit_of_openenv_does_not_cut_a_call_short(
        self, new_session: Any, run: Any, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        monkeypatch.setattr(openenv_mcp, "MCP_TOOL_CALL_TIMEOUT", 0.001)

        async def play() -> Any:
            session = new_session(epoch_s=0.01)
            await session.environment.reset_async()
            action = openenv_mcp.CallToolAction(tool_name="run_epochs", arguments={"num_epochs": 20})
            if way == "step":
                return await asyncio.to_thread(session.environment.step, action)
            return await session.environment.step_async(action)

        observation = run(play())

        assert observation.error is None
        assert observation.result.data["current_epoch"] == 20
        assert observation.reward > 0

    def test_fault_10_the_caller_of_step_cannot_shorten_the_limit_either(self, new_session: Any, run: Any) -> None:
        async def play() -> Any:
            session = new_session(epoch_s=0.01)
            await session.environment.reset_async()
            action = openenv_mcp.CallToolAction(tool_name="run_epochs", arguments={"num_epochs": 20})
            return await session.environment.step_async(action, timeout_s=0.001)

        assert run(play()).error is None

    @pytest.mark.slow
    def test_fault_10_a_call_over_its_time_ends_and_nothing_trains_on(self, new_session: Any, run: Any) -> None:
        async def play() -> None:
            session = new_session(hangs_after=3, limits=TimeLimits(call_s=2.0))
            await session.environment.reset_async()

            answer = await session.call("run_epochs", num_epochs=20)

            assert "training failed" in answer["error"]
            assert "took longer than" in answer["error"]
            assert (answer["reward"], answer["done"]) == (0.0, False)
            completed = (await session.reply("get_training_status"))["current_epoch"]
            assert completed == 3
            assert "3 of 20 epochs completed" in answer["error"]
            begun = len(session.executor.jobs)

            await asyncio.sleep(0.3)

            assert len(session.executor.jobs) == begun
            assert session.executor.finished == completed
            session.executor.hangs_after = None
            again = await session.reply("run_epochs", num_epochs=1)
            assert again["epochs"][0]["epoch"] == completed + 1

        run(play())


def test_fault_12_the_documented_snippet_runs(live_server: str) -> None:
    # test_server_client.py runs the snippet as text, from README and from the issue.
    with MLTrainerEnv(base_url=live_server) as env:
        env.reset(task_id="easy_mnist")
        tools = env.list_tools()
        result = env.call_tool("configure_training", optimizer="adam", learning_rate=0.001, batch_size=64)
        result = env.call_tool("run_epochs", num_epochs=2)
        result = env.call_tool("submit_model")

    assert len(tools) == 9
    assert result["score"] > 0
    assert env.reward >= result["score"]
