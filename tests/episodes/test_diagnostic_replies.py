"""Diagnostic figures in replies, in the journal, and in records that were made before there were any."""

import asyncio
import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.episodes.recorded import VerifyingSource
from ml_trainer_env.server.episodes.replay import replay_calls
from ml_trainer_env.server.store import RecordedUnit, UnitFigures
from ml_trainer_env.server.store.records import CallRecord
from ml_trainer_env.server.store.rows import call_from_row, call_to_row
from ml_trainer_env.server.trainer.metrics import DIAGNOSTIC_FIGURES, FIRST_EPOCH_FIGURES, EpochMetrics
from ml_trainer_env.server.tuning import game
from ml_trainer_env.server.tuning.rules import CURRENT_RULES, RULES
from ml_trainer_env.server.tuning.tools import TOOLS

Serve = Callable[..., Any]
RUN = ("run_epochs", {"num_epochs": 2})
SHOWN = {"initial_loss": 2.303, "gradient_norm": 0.001235, "update_ratio": 1.235e-07, "dead_units": 0.25}


@pytest.fixture
def serve(serve_file: Any) -> Any:
    """These tests reach into SQLite's file."""
    return serve_file


def with_diagnostics(epoch: Callable[..., EpochMetrics]) -> EpochMetrics:
    return replace(epoch(), initial_loss=2.30259, gradient_norm=0.00123456, update_ratio=1.23456e-7, dead_units=0.25)


def test_replies_show_the_figures_of_each_epoch_to_four_digits(begin: Any, epoch: Any) -> None:
    play = begin(with_diagnostics(epoch), seconds=0.123456)

    before, reply, status = play.status(), play.run(2), play.status()

    assert {name: before[name] for name in DIAGNOSTIC_FIGURES} == dict.fromkeys(DIAGNOSTIC_FIGURES)
    assert {name: reply[name] for name in DIAGNOSTIC_FIGURES} == SHOWN
    assert {name: status[name] for name in DIAGNOSTIC_FIGURES} == SHOWN
    for row in reply["epochs"]:
        assert {name: row[name] for name in DIAGNOSTIC_FIGURES} == SHOWN
        assert row["epoch_time_s"] == 0.1235


def test_figures_that_are_not_finite_or_not_known_are_null(begin: Any, epoch: Any) -> None:
    play = begin(replace(epoch(), initial_loss=math.nan, gradient_norm=math.inf))

    reply = play.run(1)

    assert {name: reply[name] for name in DIAGNOSTIC_FIGURES} == dict.fromkeys(DIAGNOSTIC_FIGURES)
    assert {name: reply["epochs"][0][name] for name in DIAGNOSTIC_FIGURES} == dict.fromkeys(DIAGNOSTIC_FIGURES)


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_rules_do_not_show_them(begin: Any, epoch: Any, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    play = begin(with_diagnostics(epoch))
    monkeypatch.setattr(play.episode, "rules", RULES[version])

    reply, observation = play.run(1), play.episode.describe().model_dump()

    shown = {*reply, *reply["epochs"][0], *observation["status"]} - {"epoch_time_s"}
    assert not shown & {*DIAGNOSTIC_FIGURES}
    assert "epoch_time_s" not in reply["epochs"][0]


def test_a_client_reads_a_status_with_and_without_them(begin: Any, epoch: Any) -> None:
    status = begin(with_diagnostics(epoch)).episode.describe().status.model_dump(mode="json")
    older = {name: value for name, value in status.items() if name not in DIAGNOSTIC_FIGURES}

    assert TrainingStatus(**status).model_dump(mode="json") == status
    assert TrainingStatus(**older).model_dump(mode="json") == older
    assert TrainingStatus(**older).dead_units is None


@pytest.mark.parametrize("names", [FIRST_EPOCH_FIGURES, (*FIRST_EPOCH_FIGURES, *DIAGNOSTIC_FIGURES)])
def test_the_journal_reads_what_it_wrote_with_and_without_them(epoch: Any, names: tuple[str, ...]) -> None:
    figures = {name: value for name, value in epoch().to_figures().items() if name in names}
    unit = RecordedUnit(UnitFigures("key", figures, "digest", 0.5), False, "identity")
    call = CallRecord("run_epochs", {"num_epochs": 1}, {}, None, True, False, (unit,), "digest", 1.0)

    row: dict[str, Any] = call_to_row(1, 1, call)
    columns = ("arguments", "reply", "epochs")
    stored: Any = {**row, **{column: json.dumps(row[column]) for column in columns}}

    assert len(row["epochs"][0][4]) == len(names)
    assert call_from_row("e", 1, stored).units == (unit,)


@pytest.fixture
def journal_of_rules_2(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal as it was before there were diagnostic figures."""

    async def play() -> None:
        async with serve(cache=False) as server:
            opened = await server.open(episode_id="old")
            await opened.call(*RUN)
            await opened.call("save_checkpoint", {"name": "a"})
            await opened.call(*RUN)

    with monkeypatch.context() as patch:
        patch.setattr(game, "CURRENT_RULES", RULES[2])
        asyncio.run(play())
    path = tmp_path / "state" / "journal.sqlite3"
    with sqlite3.connect(path) as connection:
        for row_id, text in connection.execute("SELECT rowid, epochs FROM calls").fetchall():
            units = json.loads(text)
            for unit in units:
                assert unit[4][6:] == [None] * 4
                del unit[4][6:]
            connection.execute("UPDATE calls SET epochs = ? WHERE rowid = ?", (json.dumps(units), row_id))
    connection.close()
    return path


@pytest.mark.usefixtures("journal_of_rules_2")
def test_an_episode_without_them_goes_on_is_forked_and_replays(serve: Serve) -> None:
    async def go_on() -> tuple[list[dict[str, Any]], list[int], list[Any]]:
        async with serve() as server:
            resumed = await server.open(episode_id="old", resume=True)
            forked = await server.open(fork_from="old@a")
            replies = [await one.call(*RUN) for one in (resumed, forked)]
            again = [await server.open(episode_id=one.header.name, resume=True) for one in (resumed, forked)]
            journaled = await server.journal.load("old")
            verifying = VerifyingSource((episode := await server.registry.recreate(journaled.header)).source)
            await replay_calls(episode, TOOLS, journaled.calls, verifying)
            return replies, [len(one.episode.units) for one in again], [verifying.count, verifying.differences]

    replies, epochs, verified = asyncio.run(go_on())

    assert epochs == [6, 4]
    assert verified == [6, []]
    assert not {*DIAGNOSTIC_FIGURES} & {*replies[0], *replies[0]["epochs"][0], *replies[1]}


def test_a_difference_in_a_recorded_diagnostic_figure_is_found(serve: Serve) -> None:
    async def play() -> list[Any]:
        async with serve() as server:
            opened = await server.open(episode_id="e")
            await opened.call(*RUN)
            journaled = await server.journal.load("e")
            (call,) = journaled.calls
            first = call.units[0]
            changed = replace(first, figures=replace(first.figures, figures={**first.figures.figures, "dead_units": 1}))
            call = replace(call, units=(changed, *call.units[1:]), reply=None)
            verifying = VerifyingSource((episode := await server.registry.recreate(journaled.header)).source)
            await replay_calls(episode, TOOLS, [call], verifying)
            return [(one.epoch, one.figure) for one in verifying.differences]

    assert asyncio.run(play()) == [(1, "dead_units")]


def test_new_episodes_show_them() -> None:
    assert CURRENT_RULES.shows_diagnostics
    assert not RULES[1].shows_diagnostics
    assert not RULES[2].shows_diagnostics
