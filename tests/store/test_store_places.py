"""Places of states: which are refused, and what an object store that fails does to others."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from s3_server import S3Server

from ml_trainer_env.server.store import Database, StateStore, StoreError
from ml_trainer_env.server.store import objects as objects_module
from ml_trainer_env.server.store.objects import open_objects
from ml_trainer_env.server.trainer.arrays import State

STATE = State({"weights": np.arange(3, dtype=np.float32)}, {"epoch": "1"})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database(tmp_path / "journal.sqlite3")) as opened:
        yield opened


@pytest.mark.parametrize(
    "url",
    ["gs://bucket/models", "s3://", "s3://key:secret@bucket", "s3://bucket?x=1", "models", "file://models", "http://x"],
)
def test_a_place_that_is_not_promised_is_refused_and_its_keys_are_not_told(url: str) -> None:
    with pytest.raises(
        StoreError, match=r"must be an absolute folder, file:///folder or s3://bucket/prefix"
    ) as refusal:
        open_objects(url, "journal")

    assert "secret" not in str(refusal.value)


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=rf"the folder {tmp_path}/file/journal of models cannot be used"):
        open_objects(str(tmp_path / "file"), "journal")


def test_a_bucket_without_the_extra_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)

    with pytest.raises(StoreError, match=r"need the extra \[objects\]: pip install"):
        open_objects("s3://bucket/models", "journal")


@pytest.mark.slow
@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_missing_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match=r"the bucket s3://no-such-bucket/.* does not exist"):
        open_objects("s3://no-such-bucket/models", "journal")


def test_a_store_that_stops_answering_holds_up_nobody_who_does_not_need_it(
    database: Database, bucket: str, s3: S3Server
) -> None:
    async def play() -> tuple[int, list[State | None]]:
        store = StateStore(database, bucket, 10**9)
        await store.save("key", STATE)
        reader = StateStore(database, bucket, 10**9)
        with s3.silent():
            waiting = [asyncio.create_task(reader.find("key")) for _ in range(40)]
            await asyncio.sleep(0)  # all of them ask
            for _ in range(10):  # what others do on the journal and in threads goes on
                await database.write(lambda _: None)
                await database.read(lambda _: None)
            ended = sum(task.done() for task in waiting)
        return ended, await asyncio.gather(*waiting)

    ended, found = asyncio.run(play())

    assert ended == 0
    assert None not in found


def test_a_store_that_is_gone_costs_no_answer_and_is_not_asked_again_at_once(
    database: Database, bucket: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> tuple[State | None, State | None]:
        await StateStore(database, bucket, 10**9).save("key", STATE)
        store = StateStore(database, bucket, 10**9)
        monkeypatch.setattr(objects_module, "_PAUSE_S", 1e9)
        with s3.silent():
            monkeypatch.setattr(objects_module, "_REQUEST_LIMIT_S", 0.5)
            first = await store.find("key")
            with pytest.raises(OSError, match=r"no answer within 0\.5 s"):
                await store.save("other", STATE)
        # It answers again, and the pause goes on: this is not asked for.
        second = await store.find("key")
        store._objects._paused_until = 0.0
        assert await store.find("key") is not None
        return first, second

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(play()) == (None, None)

    assert "cannot be read and will be trained again: the bucket s3://" in caplog.text
    assert "damaged" not in caplog.text  # the row stays


@pytest.mark.slow
def test_a_server_that_cannot_reach_its_bucket_says_so_when_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(objects_module, "_CONNECT_LIMIT_S", 1.0)  # a client of its own

    with pytest.raises(StoreError, match=r"the bucket s3://bucket/models/journal cannot be used: Could not connect"):
        open_objects("s3://bucket/models", "journal")
