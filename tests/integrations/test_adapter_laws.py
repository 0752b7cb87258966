"""What every adapter rests on, in both games: tools before a reset, rewards that add up, and plain values."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ml_trainer_env import FleetEnv, MissingLibraryError, MLTrainerEnv, ToolCallError
from ml_trainer_env.integrations.episode import EpisodeClient
from ml_trainer_env.integrations.libraries import require

Call = tuple[str, dict[str, Any]]

PLAYED: dict[str, tuple[str, list[Call]]] = {
    "tuning": (
        "tuning/validation/0",
        [
            ("save_checkpoint", {"name": "start"}),
            ("run_epochs", {"num_epochs": 1}),
            ("restore_checkpoint", {"name": "start"}),
            ("configure_training", {"optimizer": "adam", "learning_rate": 0.001, "batch_size": None}),
            ("run_epochs", {"num_epochs": 2}),
            ("list_checkpoints", {}),
            ("get_training_status", {}),
            ("submit_model", {}),
        ],
    ),
    "fleet": (
        "fleet/validation/0",
        [
            ("run_steps", {"num_steps": 3}),
            ("query_metrics", {"metric": "loss", "by": "rank", "last": None}),
            ("read_log", {"rank": 0}),
            ("inspect", {"kind": "node", "id": "1"}),
            ("list_checkpoints", {}),
            ("submit_model", {}),
        ],
    ),
}
GAMES = sorted(PLAYED)


@pytest.fixture(params=GAMES)
def game(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def episode(live_server: str, game: str) -> Iterator[EpisodeClient]:
    path, client = ("/fleet", FleetEnv) if game == "fleet" else ("", MLTrainerEnv)
    played = EpisodeClient(live_server + path, client=client)
    yield played
    played.close()


def is_plain(value: object) -> bool:
    """Whether a value is made of JSON's own types, not of classes derived from them."""
    if type(value) is dict:
        return all(type(key) is str and is_plain(one) for key, one in value.items())
    if type(value) is list:
        return all(is_plain(one) for one in value)
    return value is None or type(value) in (str, int, float, bool)


def test_the_tools_are_listed_before_a_reset(episode: EpisodeClient, game: str) -> None:
    tools = episode.tools()

    assert {name for name, _ in PLAYED[game][1]} <= {tool.name for tool in tools}
    assert all(is_plain(tool.input_schema) for tool in tools)


def test_the_schemas_are_flat(episode: EpisodeClient) -> None:
    parameters = [one for tool in episode.tools() for one in tool.input_schema["properties"].values()]

    assert {parameter["type"] for parameter in parameters} <= {"string", "integer", "number", "boolean"}
    assert all(set(parameter) <= {"type", "enum", "description", "minimum", "maximum"} for parameter in parameters)


@pytest.mark.parametrize("game", ["tuning", pytest.param("fleet", marks=pytest.mark.slow)], indirect=True)
def test_a_reset_needs_neither_a_task_nor_a_seed(episode: EpisodeClient) -> None:
    observation = episode.reset()

    assert observation.seed >= 0
    assert not observation.done


@pytest.mark.parametrize(
    "game", ["tuning", pytest.param("fleet", marks=[pytest.mark.slow, pytest.mark.long])], indirect=True
)
def test_the_rewards_of_an_episode_add_up_and_every_value_is_plain(episode: EpisodeClient, game: str) -> None:
    task_id, calls = PLAYED[game]
    begun = episode.reset(task_id=task_id, seed=1).model_dump()
    replies = [episode.call(name, arguments) for name, arguments in calls]

    assert is_plain(begun)
    assert all(is_plain(reply) for reply in replies)
    assert json.loads(json.dumps(replies, allow_nan=False)) == replies
    assert episode.done
    assert episode.total_reward == pytest.approx(sum(reply["reward"] for reply in replies))
    assert episode.score == replies[-1]["score"]


def test_the_total_of_v3_is_the_score_and_a_share_of_the_best_accuracy(live_server: str) -> None:
    task_id, calls = PLAYED["tuning"]
    episode = EpisodeClient(live_server)
    assert episode.reset(task_id=task_id, seed=1).rubric == "v3"
    for name, arguments in calls:
        reply = episode.call(name, arguments)
    episode.close()

    expected = reply["score"] + 0.05 * reply["best_val_accuracy"]
    assert episode.total_reward == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("game", ["tuning", pytest.param("fleet", marks=pytest.mark.slow)], indirect=True)
def test_a_refused_call_pays_nothing(episode: EpisodeClient) -> None:
    episode.reset()

    with pytest.raises(ToolCallError):
        episode.call("no_such_tool", {})

    assert (episode.total_reward, episode.done) == (0.0, False)


@pytest.mark.slow
@pytest.mark.parametrize("game", ["tuning"], indirect=True)
def test_a_reset_forgets_the_episode_before(episode: EpisodeClient, game: str) -> None:
    task_id, calls = PLAYED[game]
    episode.reset(task_id=task_id)
    for name, arguments in calls:
        episode.call(name, arguments)

    episode.reset(task_id=task_id)

    assert (episode.total_reward, episode.score, episode.done) == (0.0, None, False)


def test_a_library_that_is_not_installed_is_named_with_its_remedy() -> None:
    with pytest.raises(MissingLibraryError, match="pip install no-such-library"):
        require("no_such_library", "no-such-library")
