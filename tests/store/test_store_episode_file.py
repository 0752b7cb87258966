"""The file of an episode: what went in comes out, and a copy with any change is refused."""

import copy
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.server.store import CallRecord, EpisodeHeader, JournaledEpisode, RecordedUnit, UnitFigures
from ml_trainer_env.server.store import episode_file as module
from ml_trainer_env.server.store.episode_file import EpisodeFile, EpisodeFileError, pack_file, unpack_file
from ml_trainer_env.server.store.states import pack_state
from ml_trainer_env.server.trainer.arrays import State

KEY, HASH = "a" * 64, "b" * 64
UNIT = RecordedUnit(UnitFigures(KEY, {"loss": 0.5, "stopped": None}, HASH, 1.5), False, "c" * 64)
HEADER = EpisodeHeader("e", "a task", 3, "v1", "some data", {"torch": "2"}, 2, "parent@2", "an agent")
CALLS = (
    CallRecord("run_epochs", {"num_epochs": 1}, reply={"loss": 0.5}, units=(UNIT,), weights_hash=HASH, at=7.25),
    CallRecord("nothing", {}, error="there is no such tool", reached=False, at=8.0),
    CallRecord("submit", {}, reply={"done": True, "score": None}, at=9.0, withheld={"score": 1.0}, reason="enough"),
)
STATE = pack_state(State({"weights": np.ones(40, np.float32)}, {"epoch": "1"}))
FILE = EpisodeFile(JournaledEpisode(HEADER, CALLS), 6.5, {KEY: STATE})
PACKED = pack_file(FILE)

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(2**70), 1e308, float("nan"), float("inf"), -1.0]),
    st.sampled_from(["", "../../../../escaped", "a\0b", "\ud800", "x" * 500]),
    st.sampled_from([[], {}, [[]], {"a": []}]),
)


def signed(archive: bytes, version: int = 1) -> bytes:
    """A file with a right checksum, as somebody writes it who forges one."""
    return b"ml-trainer-episode %d %s\n" % (version, hashlib.sha256(archive).hexdigest().encode()) + archive


def archived(episode: object, states: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("episode.json", json.dumps(episode), zipfile.ZIP_DEFLATED)
        for name, content in states.items():
            archive.writestr(name, content, compression)
    return buffer.getvalue()


def written() -> Any:
    """The facts and calls of the file, as JSON."""
    with zipfile.ZipFile(io.BytesIO(PACKED.partition(b"\n")[2])) as archive:
        return json.loads(archive.read("episode.json"))


def test_what_goes_in_comes_out() -> None:
    assert unpack_file(PACKED) == FILE
    assert pack_file(unpack_file(PACKED)) == PACKED


def test_a_copy_of_which_any_byte_differs_is_refused() -> None:
    for place in range(len(PACKED)):
        for mask in (1, 0x80, 0xFF):
            damaged = bytearray(PACKED)
            damaged[place] ^= mask
            with pytest.raises(EpisodeFileError, match=r"damaged|this program reads 1|not the file"):
                unpack_file(bytes(damaged))


def test_a_copy_that_lacks_an_end_or_has_more_is_refused() -> None:
    for length in range(len(PACKED)):
        with pytest.raises(EpisodeFileError):
            unpack_file(PACKED[:length])
    with pytest.raises(EpisodeFileError, match="its checksum is wrong"):
        unpack_file(PACKED + b"\n")


def test_a_file_of_another_version_is_refused_with_both_versions() -> None:
    with pytest.raises(EpisodeFileError, match="has version 2; this program reads 1"):
        unpack_file(signed(PACKED.partition(b"\n")[2], version=2))


@given(st.data())
def test_an_edited_archive_is_read_or_refused_in_words(data: st.DataObject) -> None:
    archive = bytearray(PACKED.partition(b"\n")[2])
    places = data.draw(st.lists(st.integers(0, len(archive) - 1), min_size=1, max_size=4))
    for place in places:
        archive[place] = data.draw(st.integers(0, 255))
    read_or_refused(signed(bytes(archive)))


@given(st.data())
def test_an_edited_record_is_read_or_refused_in_words(data: st.DataObject) -> None:
    episode = written()
    *way, last = data.draw(st.sampled_from(list(_places(episode))))
    node = episode
    for step in way:
        node = node[step]
    if data.draw(st.booleans()):
        node[last] = data.draw(JUNK)
    else:
        del node[last]

    read_or_refused(signed(archived(episode, {})))


def read_or_refused(content: bytes) -> None:
    """Any other error is raised, and fails the test."""
    with suppress(EpisodeFileError):
        unpack_file(content)


def _places(node: Any) -> Iterator[tuple[Any, ...]]:
    """The ways to all values of a JSON value."""
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, value in steps:
        yield (step,)
        yield from ((step, *rest) for rest in _places(value))


@pytest.mark.parametrize("key", ["../../../../escaped", "a/b", "", "a" * 200])
def test_a_key_that_could_name_a_file_elsewhere_is_refused(key: str) -> None:
    episode = written()
    named = copy.deepcopy(episode)
    named["calls"][0]["epochs"][0][0] = key

    for content in (archived(named, {}), archived(episode, {f"states/{key}.safetensors": STATE})):
        with pytest.raises(EpisodeFileError, match="a key is"):
            unpack_file(signed(content))


def test_no_more_is_unpacked_than_an_episode_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EPISODE_BYTES", 1_000_000)
    bomb = {**written(), "more": " " * 2_000_000}
    squeezed = {f"states/{KEY}.safetensors": bytes(2_000_000)}

    assert len(archived(bomb, {})) < 10_000
    with pytest.raises(EpisodeFileError, match=r"episode\.json unpacks to more than 1,000,000 bytes"):
        unpack_file(signed(archived(bomb, {})))
    with pytest.raises(EpisodeFileError, match="is compressed"):
        unpack_file(signed(archived(written(), squeezed, zipfile.ZIP_DEFLATED)))


def test_a_file_over_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)

    with pytest.raises(EpisodeFileError, match="has at most 100 bytes, got"):
        unpack_file(PACKED)
