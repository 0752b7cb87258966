"""The contract of all entrants of the tuning game, on a small task that trains for real."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import pytest

from ml_trainer_env.baselines.agent import Call
from ml_trainer_env.baselines.forks import play_entrant
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.registry import MODEL_NAMES, NAMES, NO_DEFAULT, SEARCHES, entrants
from ml_trainer_env.baselines.session import CallRefusedError
from ml_trainer_env.in_process.forks import LocalSessions
from ml_trainer_env.in_process.tuning import LocalSession

NewSessions = Callable[..., LocalSessions]

TUNING = entrants("tuning")
REFUSED_BY_DESIGN = {"random"}
"""Its calls match the schemas, and not the state of the episode."""


@pytest.fixture(params=NAMES["tuning"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True)
class Played:
    """What came of a play.

    Attributes:
        sessions: All branches.
        submitted: The branch that was submitted.
        turns: The turns of all branches.
    """

    sessions: LocalSessions
    submitted: LocalSession
    turns: Sequence[Turn]


def play_again(name: str, sessions: LocalSessions) -> Played:
    turns: list[Turn] = []
    submitted = play_entrant(TUNING[name](), sessions, turns.append)
    assert isinstance(submitted, LocalSession)
    return Played(sessions, submitted, turns)


@pytest.fixture(scope="module")
def play_once(real_sessions: NewSessions) -> Callable[[str], Played]:
    """Lets an entrant play the task. The tests of this module share its play."""
    return cache(lambda name: play_again(name, real_sessions()))


def test_an_entrant_plays_to_a_grade_within_the_budget_without_a_refused_call(
    name: str, play_once: Callable[[str], Played]
) -> None:
    played = play_once(name)

    assert played.submitted.reply["done"]
    assert -0.25 <= played.submitted.reply["score"] <= 1.0
    assert trained_epochs(played.sessions) <= played.submitted.brief.budget_epochs
    refusals = [turn.outcome.refusal for turn in played.turns if turn.outcome.reply is None]
    assert name in REFUSED_BY_DESIGN or not refusals


def trained_epochs(sessions: LocalSessions) -> int:
    """Epochs that all branches trained themselves. A fork begins with those of its parent, which have the same keys."""
    return len({unit.ref.key for session in sessions.opened for unit in session.episode.units})


@pytest.mark.slow
def test_an_entrant_plays_an_episode_in_the_same_way_again(
    name: str, play_once: Callable[[str], Played], real_sessions: NewSessions
) -> None:
    first = play_once(name).submitted
    again = play_again(name, real_sessions()).submitted

    assert again.calls == first.calls
    assert again.reply["weights_hash"] == first.reply["weights_hash"]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_first_epoch_of_a_search_has_the_default_configuration_or_not_as_its_name_says(
    name: str, play_once: Callable[[str], Played]
) -> None:
    default = initial_settings(play_once(name))

    assert first_settings(play_once(name)) == (default, False)
    assert first_settings(play_once(name + NO_DEFAULT)) != (default, False)


def initial_settings(played: Played) -> dict[str, object]:
    """The settings that the episode begins with."""
    return shown(asdict(played.submitted.episode.task.initial_config))


def first_settings(played: Played) -> tuple[dict[str, object], bool]:
    """The settings of the first epoch, and whether its weights were fresh."""
    turns = played.turns
    place = next(place for place, turn in enumerate(turns) if name_of(turn) == "run_epochs")
    fresh = any(
        turn.decision.arguments.get("reinitialize") for turn in turns[:place] if isinstance(turn.decision, Call)
    )
    reply = turns[place].outcome.reply
    assert reply is not None
    return shown(reply["configuration"]), fresh


def name_of(turn: Turn) -> str:
    return turn.decision.name if isinstance(turn.decision, Call) else ""


def shown(settings: Any) -> dict[str, object]:
    """Settings by what they do: the strength of augmentation that is off does nothing."""
    return {**settings, "augmentation_strength": settings["augmentation_strength"] if settings["augmentation"] else 0}


@pytest.mark.parametrize("game", NAMES)
def test_names_are_those_of_the_entrants(game: str) -> None:
    assert tuple(entrants(game)) == NAMES[game]
    assert not set(NAMES[game]) & set(MODEL_NAMES[game])


def test_an_unknown_game_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no game 'chess'; the games are tuning, fleet"):
        entrants("chess")


def test_a_fork_in_this_process_goes_on_as_its_parent_does_and_neither_disturbs_the_other(
    real_sessions: NewSessions,
) -> None:
    sessions = real_sessions()
    parent = sessions.begin()
    parent.call("run_epochs", {"num_epochs": 2})
    fork = sessions.fork(parent)

    hot = fork.call("configure_training", {"learning_rate": 0.5}), fork.call("run_epochs", {"num_epochs": 1})
    on = parent.call("run_epochs", {"num_epochs": 1})
    same = sessions.fork(parent)

    assert hot[1]["current_epoch"] == on["current_epoch"] == 3
    assert hot[1]["weights_hash"] != on["weights_hash"]
    assert same.call("get_training_status", {})["weights_hash"] == on["weights_hash"]
    with pytest.raises(CallRefusedError):
        fork.call("restore_checkpoint", {"name": "none"})
