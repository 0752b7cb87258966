"""Workers and the server are killed, again and again, while four clients train: nothing that was acknowledged is lost.

What is claimed here must hold whenever the kills come; how long anything takes is claimed nowhere.
"""

import hashlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from chaos_script import epochs_of

from ml_trainer_env.server.store import CallRecord, Database, StateStore
from ml_trainer_env.server.store.tables import STATES

pytestmark = [pytest.mark.timeout(0), pytest.mark.chaos]
"""On a busy machine the play takes minutes. Whoever waits in it has a limit, so it cannot hang."""


def epoch_numbers(replies: Sequence[dict[str, Any]]) -> list[int]:
    """The numbers of the epochs that replies tell of, in order."""
    return [row["epoch"] for reply in replies for row in reply.get("epochs", ())]


def weights_by_epoch(calls: Sequence[CallRecord]) -> list[str]:
    """The hash of the weights that each epoch ended in."""
    return [unit.figures.digest for call in calls for unit in call.units]


def replies_of(calls: Sequence[CallRecord]) -> list[dict[str, Any]]:
    return [dict(call.reply) for call in calls if call.reply is not None]


def total_reward(replies: Sequence[dict[str, Any]]) -> float:
    return sum(reply["reward"] for reply in replies)


def test_the_server_and_its_workers_are_killed_as_often_as_planned(evidence: Any, kills: int) -> None:
    by_victim = Counter(kill.victim for kill in evidence.struck)

    assert by_victim["the server"] + by_victim["a worker"] + by_victim["a node"] == kills
    assert (by_victim["a node"] > 0) == (evidence.server.has_nodes and kills > 1)
    assert by_victim["the server"] >= kills // 4


def test_every_script_is_played_to_its_end(episodes: Any) -> None:
    for episode in episodes:
        made = [answer.call for answer in episode.diary.answers]

        assert [call for call in episode.diary.calls if call not in made] == []
        assert episode.diary.replies[-1]["done"]


def test_the_journal_holds_every_answer_and_nothing_that_was_not_answered(episodes: Any) -> None:
    for episode in episodes:
        answered = [(a.call.tool, a.call.arguments, a.reply, a.error) for a in episode.diary.answers]

        assert [(call.tool, call.arguments, call.reply, call.error) for call in episode.journal] == answered


def test_no_epoch_is_acknowledged_twice(episodes: Any) -> None:
    for episode in episodes:
        numbers = epoch_numbers(episode.diary.replies)

        assert numbers == sorted(set(numbers))


def test_every_epoch_that_was_asked_for_is_spent_and_written_down_once(episodes: Any) -> None:
    for episode in episodes:
        written = sum(len(call.units) for call in episode.journal)
        last = episode.diary.replies[-1]

        assert last["current_epoch"] == last["max_epochs"] - last["remaining_budget"]
        assert last["current_epoch"] == written == epochs_of(episode.diary.calls)


def test_no_budget_ever_comes_back(episodes: Any) -> None:
    for episode in episodes:
        spent = [reply["current_epoch"] for reply in episode.diary.replies]

        assert spent == sorted(spent)


def test_a_resumed_episode_is_never_behind_what_was_acknowledged(evidence: Any) -> None:
    resumes = [resume for diary in evidence.diaries for resume in diary.resumes]

    assert resumes
    assert [resume for resume in resumes if resume.shown < resume.acknowledged] == []


def test_every_epoch_ends_in_the_weights_of_an_undisturbed_run(episodes: Any) -> None:
    for episode in episodes:
        assert weights_by_epoch(episode.journal) == weights_by_epoch(episode.undisturbed)


def test_the_model_submitted_is_that_of_an_undisturbed_run(episodes: Any) -> None:
    for episode in episodes:
        submitted, calm = episode.diary.replies[-1], replies_of(episode.undisturbed)[-1]

        for figure in ("weights_hash", "score", "details", "best_val_epoch", "configuration"):
            assert submitted[figure] == calm[figure], figure


def test_the_reward_comes_to_that_of_an_undisturbed_run(episodes: Any) -> None:
    for episode in episodes:
        calm = total_reward(replies_of(episode.undisturbed))

        assert total_reward(episode.diary.replies) == pytest.approx(calm, abs=1e-6)


def test_no_process_of_a_killed_server_is_left(evidence: Any) -> None:
    assert evidence.server.processes() == []


def test_the_journal_is_sound(evidence: Any) -> None:
    if isinstance(evidence.server.journal, str):
        pytest.skip("PostgreSQL checks its foreign keys itself")
    with closing(sqlite3.connect(evidence.server.journal)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_every_model_that_is_listed_is_whole(evidence: Any) -> None:
    with closing(Database(evidence.server.journal)) as database:
        rows = sa.select(STATES.c.key, STATES.c.sha256)
        listed = database.read_now(lambda connection: connection.execute(rows).all())

    assert listed
    if isinstance(evidence.server.models, str):
        pytest.skip("a model is checked whenever it is read from a bucket")
    for key, digest in listed:
        content = (evidence.server.models / key[:2] / f"{key}.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


def test_what_a_kill_left_half_written_is_swept_away_when_it_is_old(evidence: Any) -> None:
    folder: Path | str = evidence.server.models
    if isinstance(folder, str):
        pytest.skip("a bucket has whole objects alone")
    (folder / "00").mkdir(exist_ok=True)
    (folder / "00" / "half-written.part").write_bytes(b"half")
    for path in folder.glob("??/*"):
        os.utime(path, times=(time.time() - 7200,) * 2)

    database = Database(evidence.server.journal)
    store = StateStore(database, folder, limit_bytes=10**9)
    store.sweep()
    listed_bytes = store.total_bytes()
    database.close()

    assert list(folder.glob("??/*.part")) == []
    assert listed_bytes == sum(path.stat().st_size for path in folder.glob("??/*"))
