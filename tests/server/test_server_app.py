"""The application as a whole, in this process: its lifespan, its errors, and the idle sessions it ends."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

import ml_trainer_env.server.app as app_module
from ml_trainer_env.server.app import build_app
from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.security import Access
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.tuning.grading import RubricVersion

SETTINGS = replace(Settings.from_environment({}), data=DataSettings(None, False))


def client_of(app: Any, base_url: str = "http://127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url)


async def ask(http: httpx.AsyncClient, method: str, **params: Any) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    return (await http.post("/mcp", json=request)).json()


def test_the_executor_lives_as_long_as_the_application(new_session: Any, run: Any) -> None:
    executor = new_session().executor

    async def serve() -> None:
        app = build_app(SETTINGS, executor)
        async with app.router.lifespan_context(app), client_of(app) as http:
            assert (await http.get("/health")).status_code == 200
            assert not executor.closed

    run(serve())

    assert executor.closed


@pytest.mark.slow
def test_an_idle_session_that_no_socket_holds_is_ended(new_session: Any, run: Any) -> None:
    async def serve() -> None:
        app = build_app(replace(SETTINGS, max_sessions=1, session_timeout_s=0.2), new_session().executor)
        async with app.router.lifespan_context(app), client_of(app) as http:
            assert "result" in await ask(http, "openenv/session/create")
            assert "at capacity" in str(await ask(http, "openenv/session/create"))

            ends_at = time.monotonic() + 60.0
            while "error" in await ask(http, "openenv/session/create"):
                assert time.monotonic() < ends_at, "the idle session holds its slot"
                await asyncio.sleep(0.2)

    run(serve())


def test_a_data_file_that_is_damaged_is_told_to_whoever_resets(new_session: Any, run: Any, tmp_path: Any) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"not an archive")

    async def serve() -> httpx.Response:
        settings = replace(SETTINGS, data=DataSettings(tmp_path, False))
        async with client_of(build_app(settings, new_session().executor)) as http:
            return await http.post("/reset", json={})

    response = run(serve())

    assert response.status_code == 503
    assert "mnist.npz" in response.json()["detail"]


def test_the_rubric_of_the_settings_holds_where_a_reset_names_none(new_session: Any, run: Any) -> None:
    async def serve(**options: str) -> str:
        settings = replace(SETTINGS, rubric=RubricVersion.V2)
        async with client_of(build_app(settings, new_session().executor)) as http:
            return (await http.post("/reset", json=options)).json()["observation"]["rubric"]

    assert run(serve()) == "v2"
    assert run(serve(rubric="v1")) == "v1"


@pytest.mark.parametrize(("access", "status"), [(Access(), 401), (Access.of("off"), 200)], ids=["no token", "off"])
def test_another_machine_is_let_in_when_the_token_is_off_and_the_log_warns_of_it(
    new_session: Any, run: Any, caplog: pytest.LogCaptureFixture, access: Access, status: int
) -> None:
    async def serve() -> httpx.Response:
        app = build_app(replace(SETTINGS, access=access), new_session().executor)
        async with client_of(app, "http://203.0.113.7:8000") as http:
            assert (await http.get("/health")).status_code == 200
            return await http.get("/state")

    assert run(serve()).status_code == status
    assert ("ML_TRAINER_TOKEN is off" in caplog.text) is (status == 200)


def test_the_module_builds_an_application_when_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ML_TRAINER_MAX_SESSIONS", "none")
    monkeypatch.setattr(app_module, "_prepare_process", lambda: None)  # the log of this process stays as it is

    with pytest.raises(SystemExit) as ended:
        app_module.app  # noqa: B018  # building it is what is tested

    assert ended.value.code == 2
    assert "ML_TRAINER_MAX_SESSIONS" in capsys.readouterr().err


def test_the_module_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        app_module.no_such_name  # noqa: B018
