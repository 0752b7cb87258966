"""Twelve episodes that an earlier version of this program played: the present one must come to the same, bit for bit.

They cover all tasks, both rubrics, checkpoints, forks, resumes, divergence, refused calls, and every way to end. The
program is used as its users use it: a server, the Python client, the journal's file, and `ml-trainer-journal`. See
`record.py` for how they were recorded.
"""

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from record import JOURNAL, SETTINGS, journal_command, without_tools
from recorded_comparison import differences, rounds_alike
from recorded_scripts import SCRIPTS, Script, play, resume
from served_here import served_here

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.commands import journal

FOLDER = Path(__file__).parent
RECORDED = json.loads(gzip.decompress((FOLDER / "replies.json.gz").read_bytes()))
EPISODES = {episode["options"]["episode_id"]: episode for episode in RECORDED["episodes"]}
BY_NAME = {script.name: script for script in SCRIPTS}

RECORDED_FIGURES = 6
"""Number of figures of an epoch in the recorded journal. Later versions add more after them."""

LONG = ("02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12")
"""The episodes that take the most training."""

Played = Callable[[str], dict[str, Any]]


def long_ones_are_slow() -> list[Any]:
    """The names of the episodes. Those that take long are marked."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name.split("-")[1] in LONG else []) for name in BY_NAME]


def old_journal(folder: Path) -> Path:
    """Puts the recorded journal, and no models, into a folder."""
    (folder / JOURNAL).write_bytes(gzip.decompress((FOLDER / f"{JOURNAL}.gz").read_bytes()))
    return folder


@pytest.fixture
def old_state(tmp_path: Path) -> Path:
    """A state folder that the earlier version left behind."""
    return old_journal(tmp_path)


@pytest.fixture(scope="module")
def new_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the server that plays the scripts again."""
    return tmp_path_factory.mktemp("new")


@pytest.fixture(scope="module")
def played(start_server: Any, new_state: Path) -> Iterator[Played]:
    """Plays a script again, after the script that it forks. Gives what the client received."""
    episodes: dict[str, dict[str, Any]] = {}
    program = (str(FOLDER / "server_of_rules_2.py"),)
    with start_server(program, ML_TRAINER_STATE_DIR=str(new_state), **SETTINGS) as server:

        def play_once(name: str) -> dict[str, Any]:
            if name not in episodes:
                parent = BY_NAME[name].reset.get("fork_from")
                if parent:
                    play_once(parent.split("@")[0])
                episodes[name] = play(BY_NAME[name], server.url)
            return episodes[name]

        yield play_once


@pytest.fixture(scope="module")
def exact(played: Played, new_state: Path) -> bool:
    """Whether this machine must come to the bits that were recorded."""
    played(SCRIPTS[0].name)
    return rounds_alike(RECORDED["versions"], json.loads(_rows(new_state, "SELECT versions FROM episodes")[0][0]))


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that finds the recorded journal, and none of its models."""
    state = old_journal(tmp_path_factory.mktemp("old"))
    with served_here(state) as (address, _):
        yield f"http://{address}"


@pytest.mark.parametrize("exact_mode", [True, False])
@pytest.mark.parametrize(
    ("field", "value"),
    [("current_epoch", 4), ("val_loss", 9.0), ("learning_rate", 0.0011), ("message", "Ran 9 epochs."), ("done", True)],
)
def test_a_reply_that_changed_is_noticed_on_every_machine(field: str, value: object, exact_mode: bool) -> None:
    steps = RECORDED["episodes"][0]["steps"]
    reply = next(step["reply"] for step in steps if step["tool"] == "run_epochs" and "reply" in step)

    assert list(differences(reply, reply, exact_mode)) == []
    assert len(list(differences(reply, {**reply, field: value}, exact_mode))) == 1
    assert len(list(differences(reply, {**reply, "another": 1}, exact_mode))) == 1


@pytest.mark.parametrize("name", long_ones_are_slow())
def test_a_script_played_again_gets_the_recorded_replies(name: str, played: Played, exact: bool) -> None:
    assert list(differences(EPISODES[name], played(name), exact)) == []


@pytest.mark.parametrize("name", long_ones_are_slow())
def test_a_script_played_again_leaves_the_recorded_rows_in_the_journal(
    name: str, played: Played, exact: bool, old_state: Path, new_state: Path
) -> None:
    played(name)

    assert list(differences(_journaled(old_state, name), _journaled(new_state, name), exact)) == []


@pytest.mark.parametrize("name", BY_NAME)
def test_a_recorded_episode_is_resumed_where_it_stood(name: str, old_server: str) -> None:
    resumed = resume(name, old_server)

    assert resumed == EPISODES[name]["resumed"]


def test_the_journal_command_lists_the_recorded_episodes(old_state: Path) -> None:
    listed = journal_command(old_state, "list", "--limit", "0")

    lines = {line.split()[0]: line.split() for line in listed.stdout.splitlines()[1:]}
    assert listed.returncode == 0, listed.stderr
    assert lines.keys() == BY_NAME.keys()
    for name, task, seed, epochs, score in _rows(old_state, "SELECT name, task, seed, epochs, score FROM episodes"):
        assert lines[name][1:4] == [task, str(seed), str(epochs)]
        assert score is None or float(lines[name][5]) == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(("form", "recorded"), [("trajectory", "trajectories"), ("chat", "chats")])
def test_the_journal_command_exports_the_recorded_episodes_as_it_did(
    form: str, recorded: str, old_state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**SETTINGS, "ML_TRAINER_STATE_DIR": str(old_state)}.items():
        monkeypatch.setenv(name, value)

    assert journal.main(["export", "--all", "--format", form]) == 0  # in this process: the command takes 3 s to start

    assert without_tools(capsys.readouterr().out) == RECORDED[recorded]


@pytest.mark.slow
def test_the_journal_command_trains_recorded_episodes_again_to_the_same_bits(old_state: Path, exact: bool) -> None:
    names = [name for name in BY_NAME if name.split("-")[1] in {"01", "10"}]

    replayed = journal_command(old_state, "replay", *names)

    verdicts = [line for line in replayed.stdout.splitlines() if "epochs trained again" in line]
    assert len(verdicts) == len(names), replayed.stdout + replayed.stderr
    if exact:
        assert replayed.returncode == 0, replayed.stdout
        assert all(": the same: " in line for line in verdicts)


def test_a_recorded_episode_that_was_open_goes_on_and_is_submitted(old_server: str, exact: bool) -> None:
    _require(exact)
    fork = EPISODES["recorded-05-fashion-v1-fork-at-end"]
    after_it = next(step["reply"] for step in fork["steps"] if step.get("tool") == "run_epochs")

    with MLTrainerEnv(base_url=old_server) as env:
        env.resume("recorded-04-fashion-v1-open")
        reply = env.call_tool("run_epochs", num_epochs=1)
        submitted = env.call_tool("submit_model")

    assert list(differences(after_it, reply, exact=True)) == []
    assert submitted["done"]
    assert submitted["score"] > 0


def test_a_recorded_episode_is_forked_at_a_checkpoint_whose_model_is_trained_again(
    old_server: str, exact: bool
) -> None:
    _require(exact)
    script = BY_NAME["recorded-11-easy-v1-fork-at-checkpoint"]
    again = play(Script({**script.reset, "episode_id": "again"}, script.steps), old_server)

    assert list(differences(EPISODES[script.name]["steps"], again["steps"], exact=True)) == []


def _require(exact: bool) -> None:
    """A model that comes out different when it is trained again is not gone on from."""
    if not exact:
        pytest.skip("this processor rounds in another way than the one that recorded")


def _journaled(state: Path, name: str) -> list[dict[str, Any]]:
    """The calls of an episode as the journal keeps them, without times and without what depends on the source code."""
    columns = ("number", "tool", "arguments", "reply", "error", "reached", "inherited", "epochs", "weights_hash")
    query = f"SELECT {', '.join(f'calls.{column}' for column in columns)} FROM calls JOIN episodes "
    rows = _rows(state, query + "ON calls.episode = episodes.id WHERE name = ? ORDER BY number", name)
    calls = [dict(zip(columns, row, strict=True)) for row in rows]
    for call in calls:
        for column in ("arguments", "reply", "epochs"):
            call[column] = json.loads(call[column] or "null")
        # A row is a key, a hash, seconds, whether it came from the cache, the figures, and an identity.
        call["epochs"] = [
            {"weights_hash": epoch[1], "from_cache": epoch[3], "figures": epoch[4][:RECORDED_FIGURES]}
            for epoch in call["epochs"]
        ]
    return calls


def _rows(state: Path, query: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(state / JOURNAL)) as database:
        return database.execute(query, values).fetchall()
