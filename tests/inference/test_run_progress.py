"""What a run shows: bars on a terminal, plain lines elsewhere, and synthetic images by name."""

import io
from dataclasses import replace

import pytest

from ml_trainer_env.baselines.agent import BadDecision
from ml_trainer_env.baselines.episode import summarise
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.progress import BarProgress, LineProgress, begin_line, progress_for
from ml_trainer_env.baselines.random_agent import RandomAgent


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Mute:
    name = "mute"

    def script(self, brief, tools):
        yield BadDecision("Hm", "no call")


def show(progress, session, agent):
    progress.begin(session.brief)
    turns = play(agent, session, progress.turn)
    progress.end(summarise(agent.name, session.brief, turns, seconds=1.0))


def test_a_terminal_gets_bars_and_anything_else_gets_lines():
    assert isinstance(progress_for(Terminal()), BarProgress)
    assert type(progress_for(io.StringIO())) is LineProgress


def test_lines_tell_every_turn_in_plain_text(make_session):
    out = io.StringIO()

    show(LineProgress(out), make_session(), RandomAgent(seed=2))

    text = out.getvalue()
    assert "\r" not in text
    assert "\x1b" not in text
    assert "submit_model()" in text
    assert "score 0." in text


def test_a_bar_covers_the_budget(make_session):
    out = Terminal()

    show(BarProgress(out), make_session(budget=30), Mute())

    assert "20/30" in out.getvalue()
    assert "run_epochs(num_epochs=20) epoch 20/30" in out.getvalue()
    assert "not a call" in out.getvalue()


def test_seconds_are_named_where_they_count(make_session):
    brief = make_session(budget=30).brief

    assert ", 30 epochs and 60 s, " in begin_line(replace(brief, budget_seconds=60.0))
    assert ", 30 epochs, " in begin_line(brief)


@pytest.mark.parametrize("progress", [LineProgress, BarProgress])
def test_synthetic_images_are_named(make_session, progress):
    out = Terminal()

    show(progress(out), make_session(source="synthetic"), Mute())

    assert "SYNTHETIC" in out.getvalue()


def test_a_bar_moves_while_a_call_trains_and_lines_say_nothing_of_it(make_session):
    terminal, file = Terminal(), io.StringIO()
    for progress in (BarProgress(terminal), LineProgress(file)):
        progress.begin(make_session(budget=30).brief)
        progress.training(7, 20, "epoch 7")
        progress.close()

    assert "7/30" in terminal.getvalue()
    assert file.getvalue().count("\n") == 1


def test_a_closed_episode_is_named_and_a_played_one_is_not(make_session):
    played, closed = io.StringIO(), io.StringIO()

    show(LineProgress(played), make_session(), RandomAgent(seed=2))
    show(LineProgress(closed), make_session(), Mute())

    assert "closed by the program: counts 0 (score 0." in closed.getvalue()
    assert "closed" not in played.getvalue()
