"""The contract of all entrants of the tuning game, on a small task that trains for real."""

from collections.abc import Callable
from typing import Any

import pytest

from ml_trainer_env.baselines.forks import ForkingAgent, play_entrant
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.registry import MODEL_NAMES, NAMES, NO_DEFAULT, SEARCHES, entrants
from ml_trainer_env.baselines.session import CallRefusedError
from ml_trainer_env.in_process.forks import LocalSessions
from ml_trainer_env.in_process.tuning import LocalSession

NewSessions = Callable[..., LocalSessions]
Calls = list[tuple[str, dict[str, object]]]

TUNING = entrants("tuning")
REFUSED_BY_DESIGN = {"random"}
"""Its calls match the schemas, and not the state of the episode."""


@pytest.fixture(params=NAMES["tuning"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def played(name: str, sessions: LocalSessions) -> tuple[LocalSession, list[Turn]]:
    turns: list[Turn] = []
    session = play_entrant(TUNING[name](), sessions, turns.append)
    assert isinstance(session, LocalSession)
    return session, turns


def test_an_entrant_plays_to_a_grade_within_the_budget_without_a_refused_call(
    name: str, real_sessions: NewSessions
) -> None:
    sessions = real_sessions()

    session, turns = played(name, sessions)

    assert session.reply["done"]
    assert -0.25 <= session.reply["score"] <= 1.0
    assert trained_epochs(sessions) <= session.brief.budget_epochs
    refusals = [turn.outcome.refusal for turn in turns if turn.outcome.reply is None]
    assert name in REFUSED_BY_DESIGN or not refusals


def trained_epochs(sessions: LocalSessions) -> int:
    """Epochs that all branches trained themselves. The first ones of a fork are its parent's, weights and all."""
    units = [unit.ref.key for session in sessions.opened for unit in session.episode.units]
    return len(set(units))


def test_an_entrant_plays_an_episode_in_the_same_way_again(name: str, real_sessions: NewSessions) -> None:
    first, _ = played(name, real_sessions())
    again, _ = played(name, real_sessions())

    assert again.calls == first.calls
    assert again.reply["weights_hash"] == first.reply["weights_hash"]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_first_epoch_of_a_search_has_the_default_configuration_or_not_as_its_name_says(
    name: str, real_sessions: NewSessions
) -> None:
    with_default, _ = first_training(name, real_sessions())
    without, default = first_training(name + NO_DEFAULT, real_sessions())

    assert with_default == (default, False)
    assert without != (default, False)


def first_training(name: str, sessions: LocalSessions) -> tuple[tuple[Any, bool], Any]:
    """The settings of an entrant's first epoch and whether its weights were fresh; and the default settings."""
    session, _ = played(name, sessions)
    calls = sessions.opened[0].calls if isinstance(TUNING[name](), ForkingAgent) else session.calls
    place = next(place for place, (tool, _) in enumerate(calls) if tool == "run_epochs")
    again = sessions.begin()
    default = again.call("get_training_status", {})["configuration"]
    reply = {"configuration": default}
    for tool, arguments in calls[:place]:
        reply = dict(again.call(tool, arguments))
    fresh = any(arguments.get("reinitialize") for _, arguments in calls[:place])
    return (shown(reply["configuration"]), fresh), shown(default)


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
