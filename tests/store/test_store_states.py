"""Models are kept whole or not at all, under a limit, those that are needed longest."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ml_trainer_env.server.store import CallRecord, Database, EpisodeHeader, Journal, StateStore
from ml_trainer_env.server.store import states as states_module
from ml_trainer_env.server.store.objects import Objects, open_objects
from ml_trainer_env.server.store.state_rows import journal_name, object_name, take_sweep
from ml_trainer_env.server.store.states import pack_state
from ml_trainer_env.server.store.tables import STATES
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.state import TrainingState, weights_hash

HEADER = EpisodeHeader("e", "easy_mnist", 1, "v1", "checksum", {"torch": "2"}, rules=2)


def state(seed: int = 0, size: int = 1000) -> State:
    source = np.random.default_rng(seed)
    weights = {
        "z.weight": source.normal(size=(size, 2)).astype(np.float32),
        "a.bias": np.array([np.nan, np.inf, -0.0], np.float32),
        "batches": np.array(7, np.int64),
    }
    optimizer = {"z.weight/step": np.array(3.0, np.float32), "z.weight/exp_avg": source.normal(size=(size, 2))}
    return TrainingState("simple_mlp", weights, optimizer, "adam", epoch=3, seed=2**63 - 1).to_state()


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    opened = Database(place)
    yield opened
    opened.close()


@pytest.fixture
def objects(database: Database, states_place: Path | str) -> Objects:
    """What lies in the place of the database's states."""
    return open_objects(states_place, database.read_now(journal_name))


def names(objects: Objects) -> set[str]:
    return set(objects.names_before(float("inf")))


def objects_of(*keys: str) -> set[str]:
    return {object_name(key) for key in keys}


def size_of_one() -> int:
    return len(pack_state(state()))


def test_what_comes_back_is_what_was_kept_bit_for_bit(database: Database, states_place: Path | str) -> None:
    kept = state()

    async def there_and_back() -> State | None:
        await StateStore(database, states_place, 10**9).save("key", kept)
        return await StateStore(database, states_place, 10**9).find("key")

    back = asyncio.run(there_and_back())

    assert back is not None
    assert list(back.arrays) == list(kept.arrays)
    for name, array in kept.arrays.items():
        assert (back.arrays[name].dtype, back.arrays[name].shape) == (array.dtype, array.shape)
        assert back.arrays[name].tobytes() == array.tobytes()
        assert not back.arrays[name].flags.writeable
    assert back.facts == kept.facts
    ours, theirs = TrainingState.from_state(back), TrainingState.from_state(kept)
    assert weights_hash(ours) == weights_hash(theirs)
    assert (ours.network, ours.optimizer_kind, ours.epoch, ours.seed) == ("simple_mlp", "adam", 3, 2**63 - 1)


def test_equal_states_have_equal_contents_so_that_it_does_not_matter_which_server_wrote_last() -> None:
    assert len({pack_state(state()) for _ in range(50)}) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:0],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        None,
    ],
    ids=["cut short", "emptied", "one bit", "gone"],
)
def test_a_damaged_object_is_not_taken_for_a_model(
    database: Database, states_place: Path | str, objects: Objects, damage: Callable[[bytes], bytes] | None
) -> None:
    async def spoil() -> tuple[State | None, State | None]:
        await StateStore(database, states_place, 10**9).save("key", state())
        name = object_name("key")
        if damage is None:
            objects.delete([name])
        else:
            objects.put(name, damage(objects.get(name)))
        store = StateStore(database, states_place, 10**9)
        found = await store.find("key")
        assert store.total_bytes() == 0
        await store.save("key", state())
        return found, await StateStore(database, states_place, 10**9).find("key")

    found, again = asyncio.run(spoil())

    assert found is None
    assert again is not None


def test_the_least_recently_used_goes_first(database: Database, states_place: Path | str, objects: Objects) -> None:
    async def fill() -> None:
        store = StateStore(database, states_place, 10**9)
        for name in ("first", "second", "third"):
            await store.save(name, state())
        await StateStore(database, states_place, 10**9).find("first")
        await StateStore(database, states_place, 3 * size_of_one()).save("fourth", state())

    asyncio.run(fill())

    assert names(objects) == objects_of("first", "third", "fourth")


def test_what_an_unfinished_episode_stands_on_goes_last(
    database: Database, states_place: Path | str, objects: Objects
) -> None:
    async def fill() -> set[str]:
        journal = Journal(database)
        store = StateStore(database, states_place, 10**9)
        for name in ("needed", "second", "third"):
            await store.save(name, state())
        ownership = await journal.begin(HEADER)
        await journal.append(ownership, CallRecord("run_epochs", {}, reply={"done": False}), ["needed"])
        await StateStore(database, states_place, 2 * size_of_one()).save("fourth", state())
        kept = names(objects)
        await journal.append(ownership, CallRecord("submit_model", {}, reply={"done": True}), ["needed"])
        await StateStore(database, states_place, 2 * size_of_one()).save("fifth", state())
        return kept

    assert asyncio.run(fill()) == objects_of("needed", "fourth")
    assert names(objects) == objects_of("fourth", "fifth")


def test_the_counter_is_the_size_of_what_is_kept_whatever_several_servers_write_at_once(
    place: Path | str, database: Database, states_place: Path | str
) -> None:
    async def fill() -> None:
        with contextlib.closing(Database(place)) as other:
            limit = 4 * size_of_one()
            stores = [StateStore(database, states_place, limit), StateStore(other, states_place, limit)]
            keys = [f"key{number % 6}" for number in range(12)]
            await asyncio.gather(*(store.save(key, state()) for key in keys for store in stores))

    asyncio.run(fill())

    total = sa.select(sa.func.sum(STATES.c.bytes))
    listed = database.read_now(lambda connection: connection.execute(total).scalar_one())
    assert StateStore(database, states_place, 10**9).total_bytes() == listed <= 4 * size_of_one()


def test_memory_is_bounded_too(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "MEMORY_BYTES", 3 * state().nbytes)
    store = StateStore(database, tmp_path / "states", 10**9)

    for number in range(10):
        store.keep_in_memory(str(number), state(number))

    assert list(store._memory) == ["7", "8", "9"]
    assert store._memory_bytes == sum(kept.nbytes for kept in store._memory.values())


def test_what_a_killed_process_left_is_swept_away_when_it_is_old(
    database: Database, states_place: Path | str, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(database, states_place, 10**9)
    asyncio.run(store.save("ab-kept", state()))
    for name in ("ab/tmpx.part", object_name("ab-unrecorded")):
        objects.put(name, b"half")

    store.sweep()
    fresh = names(objects)
    monkeypatch.setattr(states_module, "_ORPHAN_AGE_S", -3600.0)  # everything is old
    store.sweep()

    assert fresh == objects_of("ab-kept", "ab-unrecorded") | {"ab/tmpx.part"}  # another process may be writing them
    assert names(objects) == objects_of("ab-kept")
    assert asyncio.run(StateStore(database, states_place, 10**9).find("ab-kept")) is not None


def test_one_server_at_a_time_sweeps_and_another_does_after_it_died(
    place: Path | str, database: Database, states_place: Path | str, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_module, "_ORPHAN_AGE_S", -3600.0)
    first = Database(place)
    first.submit(lambda connection: take_sweep(connection, first.presence)).result()
    objects.put("ab/tmpx.part", b"half")
    store = StateStore(database, states_place, 10**9)

    store.sweep()
    meanwhile = names(objects)
    first.close()
    store.sweep()

    assert meanwhile == {"ab/tmpx.part"}
    assert names(objects) == set()


def test_a_sweep_counts_again_what_an_older_program_did_not_count(database: Database, states_place: Path | str) -> None:
    row = {"key": "old", "bytes": 7, "sha256": "digest", "used_at": 0.0}
    database.submit(lambda connection: connection.execute(sa.insert(STATES).values(row))).result()
    store = StateStore(database, states_place, 10**9)
    assert store.total_bytes() == 0

    store.sweep()

    assert store.total_bytes() == 7


def test_two_journals_share_a_place_and_neither_sees_the_objects_of_the_other(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_module, "_ORPHAN_AGE_S", -3600.0)
    url = (tmp_path / "shared").as_uri()
    foreign = tmp_path / "shared" / "ab" / "abc.safetensors"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody else's")
    with contextlib.closing(Database(tmp_path / "another.sqlite3")) as another:
        asyncio.run(StateStore(another, url, 10**9).save("key", state()))

        StateStore(database, url, 10**9).sweep()

        assert asyncio.run(StateStore(another, url, 10**9).find("key")) is not None
    assert foreign.exists()
