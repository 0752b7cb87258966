"""Replays a journaled episode: its calls are carried out again, on the units of work that were recorded.

The rules run again, so budget, rewards and checkpoints come out as they were. Only the work is not repeated: its
figures are in the journal. Its states are stored, or are made again when they are needed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any, Protocol

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import Episode, Game
from ml_trainer_env.server.episodes.models import Model, TrainedEpoch
from ml_trainer_env.server.episodes.tools import Reply, Toolbox
from ml_trainer_env.server.episodes.training import OnWait, Recipe, Trainer
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.store import CallRecord, RecordedEpoch
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.trainer.lineage import unproven_key
from ml_trainer_env.server.trainer.state import FreshState

__all__ = ["Difference", "ReplayError", "VerifyingTrainer", "cut", "replayed"]


class ReplayError(MLTrainerError):
    """An episode did not come out as it was written down. The message says at which call, and how."""


class CallTrainer(Trainer, Protocol):
    """A trainer that is told which recorded call comes next."""

    def begin(self, call: CallRecord) -> None:
        """Go on to the next call."""
        ...


class RecordedTrainer:
    """Gives the epochs of one recorded call after another. Models keep the names they were recorded under.

    Those that were recorded without the identity of what trained them get names of their own, so that nothing that is
    kept is taken for them: they are trained again when they are needed, and compared with what was recorded.
    """

    def __init__(self, live: Trainer) -> None:
        self._live = live
        self._epochs: list[RecordedEpoch] = []
        self._test_accuracy: float | None = None

    def begin(self, call: CallRecord) -> None:
        """Go on to the next call."""
        self._epochs = list(call.epochs)
        self._test_accuracy = (call.reply or {}).get("test_accuracy")

    async def identity(self) -> Identity:
        """That of the live trainer."""
        return await self._live.identity()

    def fresh(self, fresh: FreshState) -> Model:
        """Fresh weights."""
        return self._live.fresh(fresh)

    async def known(self, model: Model, recipe: Recipe, epochs: int) -> list[TrainedEpoch]:
        """None: every epoch is asked for, so that a call can end where it ended."""
        return []

    async def epoch(self, model: Model, recipe: Recipe, on_wait: OnWait) -> TrainedEpoch:
        """The call's next epoch."""
        if not self._epochs:
            raise ExecutorError("the call ended here")
        recorded = self._epochs.pop(0)
        figures = recorded.figures
        after = Model(
            figures.key if recorded.identity else unproven_key(figures.key, figures.weights_hash),
            model.epoch + 1,
            figures.weights_hash,
            parent=model,
            config=recipe.config,
            plan=recipe.plan,
            identity=recorded.identity,
        )
        return TrainedEpoch(after, figures.metrics, figures.seconds, recorded.from_cache)

    async def held_out_accuracy(self, model: Model, recipe: Recipe) -> float:
        """What was measured."""
        if self._test_accuracy is None:
            raise ExecutorError("it was not measured")
        return self._test_accuracy

    async def keep(self, model: Model) -> Model:
        """It is kept, or can be trained again."""
        return model


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that came out different when an epoch was trained again.

    Attributes:
        epoch: Which epoch of the episode, from 1.
        figure: `weights_hash`, or the name of a metric.
        recorded: What is in the journal.
        now: What it came to now.
    """

    epoch: int
    figure: str
    recorded: object
    now: object


class VerifyingTrainer:
    """Trains every recorded epoch again, and notes what comes out different.

    Args:
        live: Trains.
        on_epoch: Called after each epoch that was trained again.

    Attributes:
        epochs: How many epochs were trained again.
        differences: What came out different.
    """

    def __init__(self, live: Trainer, on_epoch: Callable[[], object] = lambda: None) -> None:
        self._live = live
        self._on_epoch = on_epoch
        self._recorded: list[RecordedEpoch] = []
        self._measured = False
        self.epochs = 0
        self.differences: list[Difference] = []

    def begin(self, call: CallRecord) -> None:
        """Go on to the next call."""
        self._recorded = list(call.epochs)
        self._measured = (call.reply or {}).get("test_accuracy") is not None

    async def identity(self) -> Identity:
        """That of the live trainer."""
        return await self._live.identity()

    def fresh(self, fresh: FreshState) -> Model:
        """Fresh weights."""
        return self._live.fresh(fresh)

    async def known(self, model: Model, recipe: Recipe, epochs: int) -> list[TrainedEpoch]:
        """None."""
        return []

    async def epoch(self, model: Model, recipe: Recipe, on_wait: OnWait) -> TrainedEpoch:
        """The call's next epoch, trained again; it keeps the recorded wall time, which is nobody's promise."""
        if not self._recorded:
            raise ExecutorError("the call ended here")
        recorded = self._recorded.pop(0)
        trained = await self._live.epoch(model, recipe, on_wait)
        self.epochs += 1
        self._on_epoch()
        now = {"weights_hash": trained.model.weights_hash, **asdict(trained.metrics)}
        then = {"weights_hash": recorded.figures.weights_hash, **asdict(recorded.figures.metrics)}
        # By their text, since a loss that is not a number is not equal to itself.
        self.differences += [
            Difference(self.epochs, figure, then[figure], now[figure])
            for figure in now
            if repr(now[figure]) != repr(then[figure])
        ]
        return replace(trained, seconds=recorded.figures.seconds, from_cache=recorded.from_cache)

    async def held_out_accuracy(self, model: Model, recipe: Recipe) -> float:
        """Measured again, if it was measured."""
        if not self._measured:
            raise ExecutorError("it was not measured")
        return await self._live.held_out_accuracy(model, recipe)

    async def keep(self, model: Model) -> Model:
        """It stays in memory."""
        return model


async def replayed(
    episode: Episode, tools: Toolbox[Any], calls: Sequence[CallRecord], trainer: CallTrainer | None = None
) -> list[Reply | None]:
    """Carry out recorded calls on an episode that has had no calls. Afterwards it goes on live.

    Args:
        episode: The episode, with its live trainer.
        tools: The tools of its game.
        calls: The calls.
        trainer: Gives the units of work; None for those that were recorded.

    Returns:
        The reply to each call, None for one that was refused.

    Raises:
        ReplayError: A reply differs from the recorded one.
    """
    live = episode.trainer
    episode.trainer = source = trainer or RecordedTrainer(live)
    replies = []
    for number, call in enumerate(calls, 1):
        source.begin(call)
        if not call.reached:
            episode.count_refused_call()
        reply = await _carried_out(episode, call) if call.reached else None
        was_recorded = call.reply is not None or call.error is not None
        comparable = _as_recorded(reply, call.reply)
        if was_recorded and not tools.effect(call.tool).reads_only and not _same(comparable, call.reply):
            raise ReplayError(f"call {number}, {call.tool}, came out different: {_differing(comparable, call.reply)}")
        replies.append(reply)
    episode.trainer = live
    return replies


def cut(calls: Sequence[CallRecord], place: str | None, game: Game) -> list[CallRecord]:
    """The calls up to a place in an episode before its end.

    Args:
        calls: All calls.
        place: The name of a checkpoint: up to the call that saved it last. Or a number of units: up to where as many
            had run, in the middle of a call if necessary. None: all calls but the one that ended the episode.
        game: The game of the episode.

    Raises:
        LookupError: There is no such place.
    """
    opening = list(takewhile(lambda call: not (call.reply or {}).get("done"), calls))
    if place is None:
        return opening
    for index in reversed(range(len(opening))):
        call = opening[index]
        mark = game.tools.effect(call.tool).marks
        if mark is not None and call.reply is not None and call.arguments.get(mark) == place:
            return opening[: index + 1]
    if place.isascii() and place.isdigit():
        return _cut_at_unit(opening, int(place), game)
    raise LookupError(f"it has no checkpoint {shown(place)}")


def _as_recorded(reply: Reply | None, recorded: Mapping[str, Any] | None) -> Reply | None:
    """A reply without the fields that replies did not have yet when it was recorded."""
    if reply is None or recorded is None:
        return reply
    return {name: value for name, value in reply.items() if name in recorded}


def _same(one: object, other: object) -> bool:
    """Whether two replies are equal once they have been through JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _differing(now: Mapping[str, Any] | None, recorded: Mapping[str, Any] | None) -> str:
    """The fields in which two replies differ, or what else is different."""
    if now is None or recorded is None:
        return "it was refused" if now is None else "it was accepted"
    return ", ".join(key for key in {**now, **recorded} if not _same(now.get(key), recorded.get(key)))


async def _carried_out(episode: Episode, call: CallRecord) -> Reply | None:
    try:
        return await episode.call(call.tool, call.arguments)
    except (EpisodeError, ConfigError):
        return None


def _cut_at_unit(calls: Sequence[CallRecord], units: int, game: Game) -> list[CallRecord]:
    spent, kept = 0, []
    for call in calls:
        if spent == units:
            break
        wanted = units - spent
        if len(call.epochs) > wanted:
            # Cutting a run into calls does not change it, so the call could have asked for fewer. Its reply differs.
            argument = game.tools.effect(call.tool).spends or ""
            call = replace(call, arguments={argument: wanted}, epochs=call.epochs[:wanted], reply=None, error=None)
        spent += len(call.epochs)
        kept.append(call)
    if spent != units:
        raise LookupError(f"it has run {spent} {game.unit}s, not {units}")
    return kept
