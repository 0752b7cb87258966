"""Episodes leave one journal and come into another: whole or not at all, and to one holder."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_trainer_env.server.store import (
    CallRecord,
    Database,
    EpisodeExportedError,
    EpisodeExports,
    EpisodeHeader,
    EpisodeSummary,
    EpisodeTakenError,
    ExportError,
    Journal,
    JournaledEpisode,
    NoSuchEpisodeError,
    StoreError,
    list_episodes,
)
from ml_trainer_env.server.store.episode_file import EpisodeFile

HEADER = EpisodeHeader("e", "easy_mnist", 3, "v1", "some data", {"torch": "2"}, rules=2)


def call(number: int) -> CallRecord:
    return CallRecord("run_epochs", {"num_epochs": number}, reply={"current_epoch": number}, at=float(number))


def file_of(*calls: CallRecord) -> EpisodeFile:
    return EpisodeFile(JournaledEpisode(HEADER, calls), begun_at=1.0)


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    opened = Database(place)
    yield opened
    opened.close()


def test_an_export_ends_every_ownership_and_an_import_begins_none(database: Database) -> None:
    async def move() -> None:
        journal, exports = Journal(database), EpisodeExports(database)
        ownership = await journal.begin(HEADER)
        await journal.append(ownership, call(1), [])
        file, _ = await exports.export("e")
        with pytest.raises(EpisodeTakenError, match="this episode was exported"):
            await journal.append(ownership, call(2), [])
        with pytest.raises(EpisodeExportedError, match="to go on with it here, import the file here"):
            await journal.take_over("e")
        await exports.import_(file, [])
        with pytest.raises(EpisodeTakenError, match="another session has taken this episode over"):
            await journal.append(ownership, call(2), [])
        again, episode = await journal.take_over("e")
        assert episode.calls == (call(1),)
        await journal.append(again, call(2), [])

    asyncio.run(move())


def test_a_list_says_which_episodes_were_exported(database: Database) -> None:
    async def listed() -> list[bool]:
        journal, exports, found = Journal(database), EpisodeExports(database), []
        await journal.append(await journal.begin(HEADER), call(1), [])
        file, _ = await exports.export("e")
        found += [row.exported for row in list_episodes(database) if isinstance(row, EpisodeSummary)]
        await exports.import_(file, [])
        return found + [row.exported for row in list_episodes(database) if isinstance(row, EpisodeSummary)]

    assert asyncio.run(listed()) == [True, False]


def test_a_file_comes_in_whole_or_not_at_all(database: Database) -> None:
    """The database refuses the second call here; the first one and the episode must then be missing, too."""

    async def fail() -> None:
        exports = EpisodeExports(database)
        once = sa.text("CREATE UNIQUE INDEX once ON calls (tool)")
        await database.write(lambda connection: connection.execute(once))
        with pytest.raises((StoreError, sa.exc.IntegrityError)):
            await exports.import_(file_of(call(1), call(2)), [])
        with pytest.raises(NoSuchEpisodeError):
            await exports.export("e")
        await exports.import_(file_of(call(1)), [])  # the journal works as before

    asyncio.run(fail())


def test_calls_that_were_made_elsewhere_come_in_whole_or_not_at_all(database: Database) -> None:
    async def fail() -> None:
        journal, exports = Journal(database), EpisodeExports(database)
        await journal.append(await journal.begin(HEADER), call(1), [])
        file, _ = await exports.export("e")
        once = sa.text("CREATE UNIQUE INDEX once ON calls (arguments)")
        await database.write(lambda connection: connection.execute(once))
        elsewhere = replace(file, episode=replace(file.episode, calls=(call(1), call(2), call(2))))
        with pytest.raises((StoreError, sa.exc.IntegrityError)):
            await exports.import_(elsewhere, [])
        assert (await journal.load("e")).calls == (call(1),)
        with pytest.raises(EpisodeExportedError):
            await journal.take_over("e")  # it is still away

    asyncio.run(fail())


def test_of_two_imports_at_the_same_moment_one_is_refused(place: Path | str, database: Database) -> None:
    async def race() -> None:
        other = Database(place)
        try:
            ways = [EpisodeExports(database), EpisodeExports(other)]
            done = await asyncio.gather(
                *(way.import_(file_of(call(1)), []) for way in ways * 4), return_exceptions=True
            )
        finally:
            other.close()
        refused = [outcome for outcome in done if outcome is not None]
        assert len(refused) == 7
        assert all(isinstance(outcome, ExportError) for outcome in refused)
        assert (await Journal(database).load("e")).calls == (call(1),)

    asyncio.run(race())


def test_a_budget_is_not_refunded_by_importing_an_older_copy(database: Database) -> None:
    async def refuse() -> None:
        journal, exports = Journal(database), EpisodeExports(database)
        await journal.append(await journal.begin(HEADER), call(1), [])
        older, _ = await exports.export("e")
        await exports.import_(older, [])
        ownership, _ = await journal.take_over("e")
        await journal.append(ownership, call(2), [])
        with pytest.raises(ExportError, match="that was not exported; resume it, or export it first"):
            await exports.import_(older, [])
        await exports.export("e")
        with pytest.raises(ExportError, match="ends after call 1, and this journal has 2 calls: the file is older"):
            await exports.import_(older, [])
        other_course = replace(older, episode=replace(older.episode, calls=(call(1), call(3), call(4))))
        with pytest.raises(ExportError, match="differs from this journal in call 2"):
            await exports.import_(other_course, [])
        other_start = replace(older, episode=replace(older.episode, header=replace(HEADER, seed=4)))
        with pytest.raises(ExportError, match="another episode 'e' in this journal, which began otherwise"):
            await exports.import_(other_start, [])

    asyncio.run(refuse())
