"""The chaos test's play: once for all its tests.

pytest tests/chaos                                                    # 30 kills
pytest tests/chaos --chaos-kills 500 --chaos-seed 7 --timeout 0 # also: make chaos
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this one

from chaos_client import Diary
from chaos_play import Evidence, journaled, play, undisturbed

from ml_trainer_env.server.store import CallRecord

KILLS = 30
SEED = 1

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


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def evidence(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, kills: int, tmp_path_factory: pytest.TempPathFactory
) -> Evidence:
    """What is left of the play."""
    is_file = request.param == "sqlite"
    database_url = None if is_file else request.getfixturevalue("postgresql").new_database()
    seed = pytestconfig.getoption("--chaos-seed", SEED)
    cache = pytestconfig.getoption("--chaos-cache", False)
    played = asyncio.run(play(tmp_path_factory.mktemp("chaos"), seed, kills, cache, database_url))
    pytestconfig.stash[_SUMMARY] = played.summary
    return played


@pytest.fixture(scope="module")
def episodes(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> list[Played]:
    """All episodes of the play."""

    async def collect() -> list[Played]:
        disturbed = await journaled(evidence.server.journal, evidence.diaries)
        calm = await undisturbed(tmp_path_factory.mktemp("undisturbed"), evidence.diaries)
        return [Played(*each) for each in zip(evidence.diaries, disturbed, calm, strict=True)]

    return asyncio.run(collect())
