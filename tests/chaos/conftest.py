"""The chaos test's play: once for all its tests.

pytest tests/chaos                                                    # 30 kills
pytest tests/chaos --chaos-kills 500 --chaos-seed 7 --timeout 0 # also: make chaos
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this one

from chaos_client import Diary
from chaos_cluster import MortalCluster
from chaos_play import Evidence, Mortal, journaled, play, undisturbed
from chaos_server import MortalServer
from ray_nodes import ray_cluster

from ml_trainer_env.server.store import CallRecord

KILLS = 30
SEED = 1
SERVERS, CLUSTER_CLIENTS = 3, 8

_SUMMARY = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a longer run."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-kills", type=int, default=KILLS, help="how often to kill -9 (default: %(default)s)")
    group.addoption("--chaos-seed", type=int, default=SEED, help="fixes who is killed when (default: %(default)s)")
    group.addoption("--chaos-cache", action="store_true", help="with the cache of epochs switched on")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what happened in the play."""
    if _SUMMARY in config.stash:
        terminalreporter.write_line(f"chaos: {config.stash[_SUMMARY]}")


@dataclass(frozen=True)
class Played:
    """An episode after the play.

    Attributes:
        diary: What its client knows.
        journal: Its calls in the journal.
        undisturbed: Its calls in the journal of a run in which nobody was killed.
    """

    diary: Diary
    journal: tuple[CallRecord, ...]
    undisturbed: tuple[CallRecord, ...]


@pytest.fixture(scope="module")
def kills(pytestconfig: pytest.Config) -> int:
    """How often to kill."""
    return pytestconfig.getoption("--chaos-kills", KILLS)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", pytest.param("cluster", marks=pytest.mark.ray)])
def evidence(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, kills: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evidence]:
    """What is left of the play. The database, the object store and the Ray cluster run until the tests have ended."""
    folder, seed = tmp_path_factory.mktemp("chaos"), pytestconfig.getoption("--chaos-seed", SEED)
    cache = pytestconfig.getoption("--chaos-cache", False)
    with ExitStack() as stack:
        mortal: Mortal
        if request.param == "cluster":
            pytest.importorskip("ray")
            postgresql, s3 = (request.getfixturevalue(name) for name in ("postgresql", "s3"))
            models, ray = f"s3://{s3.new_bucket()}/models", stack.enter_context(ray_cluster())
            mortal = MortalCluster(folder, SERVERS, postgresql.new_database(), models, s3.variables, ray)
            played = asyncio.run(play(mortal, seed, kills, CLUSTER_CLIENTS))
        else:
            is_file = request.param == "sqlite"
            database_url = None if is_file else request.getfixturevalue("postgresql").new_database()
            played = asyncio.run(play(MortalServer(folder, cache, database_url), seed, kills))
        pytestconfig.stash[_SUMMARY] = played.summary
        yield played


@pytest.fixture(scope="module")
def episodes(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> list[Played]:
    """All episodes of the play."""

    async def collect() -> list[Played]:
        disturbed = await journaled(evidence.server.journal, evidence.diaries)
        calm = await undisturbed(tmp_path_factory.mktemp("undisturbed"), evidence.diaries)
        return [Played(*each) for each in zip(evidence.diaries, disturbed, calm, strict=True)]

    return asyncio.run(collect())
