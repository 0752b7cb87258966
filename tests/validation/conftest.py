"""Toys with each flaw, on one server of this process."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from openenv.validation.graders import Subject
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from toy_environment import Flaw, RunningToy, toy_app, toy_package

SubjectOf = Callable[..., Subject]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_package(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toys(package: Path) -> Iterator[str]:
    """The URL of a server with a toy of each flaw, at the flaw's name."""
    app = FastAPI()
    for flaw in Flaw:
        app.mount(f"/{flaw.value}", toy_app(flaw, package))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def subject_of(package: Path, toys: str, tmp_path: Path) -> SubjectOf:
    """Makes what a grader receives for the toy with a flaw."""

    def make(flaw: Flaw = Flaw.NONE, root: Path = package, **usage: float) -> Subject:
        running = RunningToy(f"{toys}/{flaw.value}", **usage)
        return Subject(root, OpenEnvYamlParser().parse(root), None, running, tmp_path)

    return make
