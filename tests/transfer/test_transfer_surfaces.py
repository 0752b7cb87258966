"""Episodes move by the command, over HTTP and with the Python client; never by an agent's tool."""

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


@pytest.mark.slow
def test_the_client_moves_episodes_of_both_games_from_server_to_server(tmp_path: Path) -> None:
    with served_here(tmp_path / "a") as (one, _), served_here(tmp_path / "b") as (other, _):
        for kind, path, task, call in (
            (MLTrainerEnv, "", TASK, {"name": "run_epochs", "num_epochs": 1}),
            (FleetEnv, "/fleet", "fleet_sticky_node", {"name": "run_steps", "num_steps": 2}),
        ):
            name = call.pop("name")
            with kind(base_url=f"http://{one}{path}") as env, kind(base_url=f"http://{other}{path}") as new:
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


def test_only_the_servers_own_token_moves_episodes(tmp_path: Path) -> None:
    with served_here(tmp_path, TOKEN="the-servers-own-token", OBSERVER_TOKEN="a-token-of-observers") as (address, _):

        def status(path: str, token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return httpx.post(f"http://{address}{path}", content=b"?", headers=headers).status_code

        paths = ("/episodes/export?name=nobody", "/episodes/import")
        assert [status(path, None) for path in paths] == [401, 401]
        assert [status(path, "a-token-of-observers") for path in paths] == [403, 403]
        assert [status(path, "the-servers-own-token") for path in paths] == [404, 422]


def test_the_command_moves_an_episode_from_state_folder_to_state_folder(
    serve: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def begin() -> None:
        async with serve("a") as services:
            opened = await services.registry.open(EpisodeRequest(task_id=TASK, episode_id="e"))
            await opened.call("run_epochs", {"num_epochs": 2})

    def command(folder: str, *arguments: str, **variables: str) -> tuple[int, str]:
        given = {"STATE_DIR": str(tmp_path / folder), "DOWNLOAD": "no", "TORCH_THREADS": "1", **variables}
        for name, value in given.items():
            monkeypatch.setenv(f"ML_TRAINER_{name}", value)
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    run(begin())
    file = tmp_path / "e.episode"
    assert command("a", "export-episode", "e", "-o", str(file))[0] == 0

    refused = command("b", "import-episode", str(file), EVALUATION_BATCH="128")
    moved = command("b", "import-episode", str(file), EVALUATION_BATCH="64")
    again = command("b", "import-episode", str(file))

    assert refused[0] == 2
    assert "evaluation_batch was 64, is 128" in refused[1]
    assert moved == (0, "episode e can be resumed here: 1 calls\n")
    assert again[0] == 2
    assert "that was not exported" in again[1]
