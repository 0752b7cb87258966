"""The server's HTTP routes: what they answer, and how they refuse."""

import httpx
import pytest

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.tuning.tools import TOOLS

TASK_IDS = ["easy_mnist", "medium_fashion", "hard_cifar", "permuted_mnist"]


def test_health_says_healthy(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "healthy"}


def test_metadata_describes_the_environment(http: httpx.Client) -> None:
    metadata = http.get("/metadata").json()

    assert metadata["name"] == "ml_trainer_env"
    assert metadata["version"]
    assert "PyTorch" in metadata["description"]


def test_schema_publishes_what_a_reset_and_the_state_look_like(http: httpx.Client) -> None:
    schema = http.get("/schema").json()

    assert set(schema) == {"action", "observation", "reset_observation", "state"}
    assert {"task", "status", "seed", "rubric", "episode_id"} <= set(schema["reset_observation"]["properties"])
    assert {"episode_id", "step_count", "status", "configuration"} <= set(schema["state"]["properties"])
    assert "tool_name" in schema["action"]["properties"]


def test_a_reset_by_http_describes_the_task_and_where_its_images_come_from(http: httpx.Client) -> None:
    reply = http.post("/reset", json={}).json()

    assert (reply["reward"], reply["done"]) == (0.0, False)
    task = reply["observation"]["task"]
    assert (task["id"], task["budget_epochs"], task["parameter_count"]) == ("easy_mnist", 100, 101_770)
    assert task["tools"] == list(TOOLS.names)
    assert task["dataset"]["source"] == "bundled"
    sizes = [task["dataset"][f"{part}_size"] for part in ("train", "validation", "test")]
    assert sizes == [4000, 1000, 5000]
    assert reply["observation"]["status"]["convergence_signal"] == "not_started"
    assert reply["observation"]["seed"] == 42


@pytest.mark.parametrize("task_id", TASK_IDS)
def test_a_reset_shows_no_image_and_no_label(http: httpx.Client, task_id: str) -> None:
    response = http.post("/reset", json={"task_id": task_id})

    assert response.status_code == 200
    assert len(response.content) < 4_000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task_id": "no_such_task"}, TASK_IDS),
        ({"task_id": ["easy_mnist"]}, TASK_IDS),
        ({"task_id": ""}, TASK_IDS),
        ({"seed": -1}, ["seed"]),
        ({"seed": 2**63}, ["seed", str(2**63)]),
        ({"seed": 10**400}, ["seed"]),
        ({"seed": "forty-two"}, ["seed"]),
        ({"seed": 1.5}, ["seed"]),
        ({"rubric": "v4"}, ["rubric", "v1", "v2", "v3", "accuracy", "v4"]),
        ({"rubric": "v3", "task_id": "permuted_mnist"}, ["rubric v3", "permuted_mnist"]),
        ({"rubric": "accuracy"}, ["rubric accuracy", "easy_mnist", "v1, v2"]),
        ({"rubric": "v1", "split": "train", "index": 3}, ["rubric v1", "tuning/train/3", "accuracy"]),
        ({"rubric": 2}, ["rubric", "v1, v2", "2"]),
        ({"rubric": 0}, ["rubric", "v1, v2", "0"]),
        ({"rubric": ""}, ["rubric", "v1, v2"]),
        ({"taskid": "easy_mnist"}, ["taskid", "task_id"]),
        ({"episode_id": 7}, ["episode_id"]),
        ({"split": "named", "index": 4}, ["4", "named"]),
        ({"split": "named", "index": -1}, ["-1", "named"]),
        ({"split": "train", "index": -1}, ["-1", "train"]),
        ({"split": "train", "index": 2**31}, [str(2**31), "train"]),
        ({"split": "test", "index": 2**30}, [str(2**30), "test"]),
        ({"task_id": f"tuning/test/{2**30}"}, [str(2**30), "test"]),
        ({"task_id": "tuning/train/-1"}, ["tuning/train/-1", "tuning/train/17"]),
        ({"task_id": "tuning/train/017"}, ["tuning/train/017", "tuning/train/17"]),
        ({"task_id": "tuning/named/0"}, ["tuning/named/0", "tuning/train/17"]),
        ({"split": "train", "index": 0.5}, ["0.5", "train"]),
        ({"split": "train", "index": True}, ["True", "train"]),
        ({"split": "tests", "index": 0}, ["tests", "named", "test"]),
        ({"split": 5, "index": 0}, ["5"]),
        ({"task_id": "no_such_task", "split": "train", "index": 0}, ["task_id", "split", "not by both"]),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, dict) else "",
)
def test_a_bad_reset_option_is_refused_by_name(
    http: httpx.Client, env: MLTrainerEnv, options: dict[str, object], told: list[str]
) -> None:
    response = http.post("/reset", json=options)

    assert response.status_code == 422
    assert all(part in response.text for part in told), response.text

    with pytest.raises(RuntimeError) as refusal:
        env.reset(**options)
    assert all(part in str(refusal.value) for part in told), str(refusal.value)
    assert env.state().episode_id is None


def test_a_refused_reset_leaves_the_episode_as_it_was(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist", episode_id="kept")
    env.call_tool("run_epochs", num_epochs=1)
    before = env.state()

    with pytest.raises(RuntimeError, match="no_such_task"):
        env.reset(task_id="no_such_task")

    assert env.state() == before
    assert env.call_tool("run_epochs", num_epochs=1)["current_epoch"] == 2


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_first_and_the_last_seed_are_taken(http: httpx.Client, seed: int) -> None:
    response = http.post("/reset", json={"seed": seed})

    assert response.json()["observation"]["seed"] == seed


def test_a_task_may_be_chosen_by_its_place_in_the_split(http: httpx.Client) -> None:
    reply = http.post("/reset", json={"split": "named", "index": 2}).json()

    assert reply["observation"]["task"]["id"] == "hard_cifar"


@pytest.mark.parametrize("tool", TOOLS.names)
def test_a_step_before_any_reset_says_so_and_pays_nothing(http: httpx.Client, tool: str) -> None:
    required = {
        "run_epochs": {"num_epochs": 1},
        "adjust_learning_rate": {"new_lr": 0.1},
        "toggle_augmentation": {"enabled": True},
        "save_checkpoint": {"name": "a"},
        "restore_checkpoint": {"name": "a"},
    }
    action = {"type": "call_tool", "tool_name": tool, "arguments": required.get(tool, {})}

    reply = http.post("/step", json={"action": action}).json()

    assert "call reset first" in reply["observation"]["error"]["message"]
    assert (reply["reward"], reply["done"]) == (0.0, False)


@pytest.mark.parametrize(
    "body",
    [{}, {"action": {}}, {"action": {"type": "call_tool"}}, {"action": {"type": "call_tool", "tool_name": 3}}],
)
def test_a_step_that_is_no_tool_call_is_refused(http: httpx.Client, body: dict[str, object]) -> None:
    assert http.post("/step", json=body).status_code == 422


def test_the_state_of_a_fresh_environment_is_empty(http: httpx.Client) -> None:
    state = http.get("/state").json()

    assert (state["episode_id"], state["step_count"], state["status"]) == (None, 0, None)


class TestTaskApi:
    """The tasks as OpenEnv lists them."""

    def test_the_named_tasks_are_a_split_beside_those_of_the_family(self, http: httpx.Client) -> None:
        assert http.get("/ml_trainer_env/splits").json() == [
            {"name": "named", "type": "validation"},
            {"name": "train", "type": "train"},
            {"name": "validation", "type": "validation"},
            {"name": "test", "type": "test"},
        ]

    def test_the_first_holds_the_four_named_tasks(self, http: httpx.Client) -> None:
        reply = http.post("/ml_trainer_env/tasks", json={"split": "named"}).json()

        assert [task["id"] for task in reply["tasks"]] == TASK_IDS
        assert [task["budget_epochs"] for task in reply["tasks"]] == [100, 80, 60, 30]
        assert http.post("/ml_trainer_env/num_tasks", json={"split": "named"}).json() == {"num_tasks": 4}

    def test_a_split_there_is_not_holds_none(self, http: httpx.Client) -> None:
        assert http.post("/ml_trainer_env/tasks", json={"split": "tests"}).json()["tasks"] == []
        assert http.post("/ml_trainer_env/num_tasks", json={"split": "tests"}).json() == {"num_tasks": 0}

    @pytest.mark.parametrize("index", range(4))
    def test_each_has_a_place(self, http: httpx.Client, index: int) -> None:
        task = http.post("/ml_trainer_env/task", json={"split": "named", "index": index}).json()["task"]

        assert (task["id"], task["index"]) == (TASK_IDS[index], index)

    @pytest.mark.parametrize(
        "request_", [{"split": "named", "index": 4}, {"split": "tests", "index": 0}, {"split": "train", "index": 2**31}]
    )
    def test_a_place_there_is_not_is_a_bad_request(self, http: httpx.Client, request_: dict[str, object]) -> None:
        assert http.post("/ml_trainer_env/task", json=request_).status_code == 400

    def test_a_negative_place_is_a_bad_request(self, http: httpx.Client) -> None:
        assert http.post("/ml_trainer_env/task", json={"split": "named", "index": -1}).status_code == 400

    @pytest.mark.parametrize(
        ("bounds", "ids"),
        [
            ({}, TASK_IDS),
            ({"start": 1}, TASK_IDS[1:]),
            ({"stop": 2}, TASK_IDS[:2]),
            ({"start": 1, "stop": 9}, TASK_IDS[1:]),
        ],
    )
    def test_a_range_is_a_slice(self, http: httpx.Client, bounds: dict[str, int], ids: list[str]) -> None:
        reply = http.post("/ml_trainer_env/task_range", json={"split": "named", **bounds}).json()

        assert [task["id"] for task in reply["tasks"]] == ids

    def test_another_environment_is_not_found(self, http: httpx.Client) -> None:
        assert http.get("/other_env/splits").status_code == 404
