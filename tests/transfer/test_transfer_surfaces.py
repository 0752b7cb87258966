"""Episodes move by the command, and over HTTP by whoever has the operator's token; never by what an agent has."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fleet_play import Run
from served_here import served_here

from ml_trainer_env import FleetEnv, MLTrainerEnv
from ml_trainer_env.errors import ResetRefusedError
from ml_trainer_env.server.commands.journal import main
from ml_trainer_env.server.episodes.registry import EpisodeRequest

TASK = "tuning/train/11"
OPERATOR = "the-token-of-operators"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.slow
def test_the_client_moves_episodes_of_both_games_from_server_to_server(tmp_path: Path) -> None:
    with (
        served_here(tmp_path / "a", OPERATOR_TOKEN=OPERATOR) as (one, _),
        served_here(tmp_path / "b", OPERATOR_TOKEN=OPERATOR) as (other, _),
    ):
        for kind, path, task, call in (
            (MLTrainerEnv, "", TASK, {"name": "run_epochs", "num_epochs": 1}),
            (FleetEnv, "/fleet", "fleet_sticky_node", {"name": "run_steps", "num_steps": 2}),
        ):
            name = call.pop("name")
            old, there = ({"base_url": f"http://{host}{path}", "headers": bearer(OPERATOR)} for host in (one, other))
            with kind(**old) as env, kind(**there) as new:
                env.reset(task_id=task, seed=3)
                env.call_tool(name, **call)
                file = env.export_episode()
                with pytest.raises(ResetRefusedError, match="was exported and goes on where its file is imported"):
                    env.resume()
                moved = new.import_episode(file)
                assert moved == env.episode_id
                observation = new.resume(moved).observation
                assert observation.resumed
                assert observation.last_call["tool_name"] == name
                with pytest.raises(ResetRefusedError, match="damaged"):
                    new.import_episode(file[:-1])
                with pytest.raises(ResetRefusedError, match="there is no episode 'nobody'"):
                    new.export_episode("nobody")
                tools = {tool.name for tool in new.list_tools()}
                assert not any("import" in tool or "export" in tool for tool in tools)


PATHS = [
    f"{prefix}/episodes/{verb}"
    for prefix in ("", "/fleet")
    for verb in ("export?name=nobody", "export/?name=nobody", "%65xport?name=nobody", "import", "import//")
]


def statuses(address: str, token: str | None) -> set[int]:
    """What the paths of moves answer to the holder of a token, in all ways to write them."""
    with httpx.Client(headers=bearer(token) if token else {}, trust_env=False, timeout=300) as http:
        urls = [httpx.URL(f"http://{address}", raw_path=path.encode()) for path in PATHS]
        return {http.post(url, content=b"?").status_code for url in urls}


def test_neither_the_token_of_agents_nor_that_of_observers_moves_episodes(tmp_path: Path) -> None:
    tokens = {"TOKEN": "the-token-of-agents", "OBSERVER_TOKEN": "a-token-of-observers", "OPERATOR_TOKEN": OPERATOR}
    with served_here(tmp_path, **tokens) as (address, _):
        assert statuses(address, None) == {401}
        assert statuses(address, "a-wrong-token-of-nobody") == {401}
        assert statuses(address, "the-token-of-agents") == {403}
        assert statuses(address, "a-token-of-observers") == {403}
        assert statuses(address, OPERATOR) == {404, 422}


@pytest.mark.parametrize("token", [None, "off"])
def test_without_a_token_of_operators_nobody_moves_episodes_over_http(tmp_path: Path, token: str | None) -> None:
    """An agent on the server's machine needs no token to play, and must not read what the file tells."""
    with served_here(tmp_path, **({"TOKEN": token} if token else {})) as (address, _):
        assert statuses(address, None) == statuses(address, OPERATOR) == {403}
        answer = httpx.post(f"http://{address}/episodes/export?name=nobody", trust_env=False)
        assert "set ML_TRAINER_OPERATOR_TOKEN" in answer.json()["detail"]
        assert "ml-trainer-journal export-episode" in answer.json()["detail"]


def test_an_operator_may_do_what_a_player_may(tmp_path: Path) -> None:
    with served_here(tmp_path, TOKEN="the-token-of-agents", OPERATOR_TOKEN=OPERATOR) as (address, _):
        answers = [
            httpx.get(f"http://{address}{path}", headers=bearer(OPERATOR), trust_env=False)
            for path in ("/metadata", "/metrics", "/room/api/live")
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.slow
def test_the_command_moves_an_episode_from_state_folder_to_state_folder(
    serve: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def begin() -> None:
        async with serve("a") as services:
            opened = await services.registry.open(EpisodeRequest(task_id=TASK, episode_id="e"))
            await opened.call("run_epochs", {"num_epochs": 2})

    async def resumable() -> None:
        async with serve("a") as services:
            (await services.registry.open(EpisodeRequest(episode_id="e", resume=True))).close()

    def command(folder: str, *arguments: str, **variables: str) -> tuple[int, str]:
        given = {"STATE_DIR": str(tmp_path / folder), "DOWNLOAD": "no", "TORCH_THREADS": "1", **variables}
        for name, value in given.items():
            monkeypatch.setenv(f"ML_TRAINER_{name}", value)
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    run(begin())
    file = tmp_path / "e.episode"
    nowhere = command("a", "export-episode", "e", "-o", str(tmp_path / "nowhere" / "e.episode"))
    assert nowhere[0] == 2
    assert "No such file or directory" in nowhere[1]
    run(resumable())  # it was not taken away for a file that cannot be written
    assert command("a", "export-episode", "e", "-o", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600

    refused = command("b", "import-episode", str(file), EVALUATION_BATCH="128")
    moved = command("b", "import-episode", str(file), "--verify", EVALUATION_BATCH="64")
    again = command("b", "import-episode", str(file))

    assert refused[0] == 2
    assert "evaluation_batch was 64, is 128" in refused[1]
    assert moved == (0, "episode e can be resumed here: 1 calls\n")
    assert again[0] == 2
    assert "that was not exported" in again[1]
