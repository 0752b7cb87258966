"""Models are kept whole or not at all, under a limit, those that are needed longest."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_trainer_env.server.store import CallRecord, Database, EpisodeHeader, Journal, StateStore
from ml_trainer_env.server.store import states as states_module
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
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


def files(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*/*.safetensors")}


def test_what_comes_back_is_what_was_kept_bit_for_bit(database: Database, folder: Path) -> None:
    kept = state()

    async def there_and_back() -> State | None:
        await StateStore(database, folder, 10**9).save("key", kept)
        return await StateStore(database, folder, 10**9).find("key")

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


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        lambda path: path.unlink(),
    ],
    ids=["cut short", "emptied", "one bit", "gone"],
)
def test_a_damaged_file_is_not_taken_for_a_model(database: Database, folder: Path, damage: Any) -> None:
    async def spoil() -> tuple[State | None, State | None]:
        await StateStore(database, folder, 10**9).save("key", state())
        (path,) = folder.glob("*/*.safetensors")
        damage(path)
        store = StateStore(database, folder, 10**9)
        found = await store.find("key")
        await store.save("key", state())
        return found, await StateStore(database, folder, 10**9).find("key")

    found, again = asyncio.run(spoil())

    assert found is None
    assert again is not None


def test_the_least_recently_used_goes_first(database: Database, folder: Path) -> None:
    one = os.path.getsize

    async def fill() -> None:
        store = StateStore(database, folder, 10**9)
        for name in ("first", "second", "third"):
            await store.save(name, state())
        await StateStore(database, folder, 10**9).find("first")
        size = one(next(folder.glob("*/*.safetensors")))
        await StateStore(database, folder, 3 * size).save("fourth", state())

    asyncio.run(fill())

    assert files(folder) == {"first", "third", "fourth"}


def test_what_an_unfinished_episode_stands_on_goes_last(database: Database, folder: Path) -> None:
    async def fill() -> set[str]:
        journal = Journal(database)
        store = StateStore(database, folder, 10**9)
        for name in ("needed", "second", "third"):
            await store.save(name, state())
        ownership = await journal.begin(HEADER)
        await journal.append(ownership, CallRecord("run_epochs", {}, reply={"done": False}), ["needed"])
        size = os.path.getsize(next(folder.glob("*/*.safetensors")))
        await StateStore(database, folder, 2 * size).save("fourth", state())
        kept = files(folder)
        await journal.append(ownership, CallRecord("submit_model", {}, reply={"done": True}), ["needed"])
        await StateStore(database, folder, 2 * size).save("fifth", state())
        return kept

    assert asyncio.run(fill()) == {"needed", "fourth"}
    assert files(folder) == {"fourth", "fifth"}


def test_memory_is_bounded_too(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "MEMORY_BYTES", 3 * state().nbytes)
    store = StateStore(database, folder, 10**9)

    for number in range(10):
        store.keep_in_memory(str(number), state(number))

    assert list(store._memory) == ["7", "8", "9"]
    assert store._memory_bytes == sum(kept.nbytes for kept in store._memory.values())


def test_what_a_killed_process_left_half_written_is_swept_away(database: Database, folder: Path) -> None:
    asyncio.run(StateStore(database, folder, 10**9).save("ab-kept", state()))
    (folder / "ab").mkdir(exist_ok=True)
    left, fresh = folder / "ab" / "tmpx.part", folder / "ab" / "tmpy.part"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))

    store = StateStore(database, folder, 10**9)

    assert not left.exists()
    assert fresh.exists()  # another process may be writing it
    assert asyncio.run(store.find("ab-kept")) is not None
