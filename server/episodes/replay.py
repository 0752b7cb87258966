"""From a journal back to an episode: the same calls are carried out again, on epochs that are known.

The rules run anew, so budget, rewards, schedule and checkpoints come out as they were. Only training
is not repeated: its figures are in the journal, its models are kept, or are trained again when needed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any, Protocol

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.episodes.calls import LOOKS, perform
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.models import Model, TrainedEpoch
from ml_trainer_env.server.episodes.training import OnWait, Recipe, Trainer
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.store import CallRecord, RecordedEpoch
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.trainer.lineage import unproven_key
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.tuning.episode import Episode
from ml_trainer_env.server.tuning.observation import Reply

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
    blank: Episode, calls: Sequence[CallRecord], trainer: CallTrainer | None = None
) -> list[Reply | None]:
    """Carry out recorded calls on an episode that has just begun; afterwards it goes on live.

    Args:
        blank: The episode, with its live trainer.
        calls: What is to be carried out.
        trainer: Gives the epochs; those that were recorded if None.

    Returns:
        The reply to each call, None for one that was refused.

    Raises:
        ReplayError: A reply differs from the one that was recorded.
    """
    live = blank.trainer
    blank.trainer = recorded = trainer or RecordedTrainer(live)
    replies = []
    for number, call in enumerate(calls, 1):
        recorded.begin(call)
        if not call.reached:
            blank.count_refused_call()
        reply = await _carried_out(blank, call) if call.reached else None
        was_recorded = call.reply is not None or call.error is not None
        comparable = _as_recorded(reply, call.reply)
        if was_recorded and call.tool not in LOOKS and not _same(comparable, call.reply):
            raise ReplayError(f"call {number}, {call.tool}, came out different: {_told(comparable, call.reply)}")
        replies.append(reply)
    blank.trainer = live
    return replies


def cut(calls: Sequence[CallRecord], place: str | None) -> list[CallRecord]:
    """The calls up to a place in an episode that is not its end.

    Args:
        calls: All of them.
        place: Name of a checkpoint: up to where it was last saved. Or a number of epochs: up to where
            as many had run, in the middle of a call if need be. None: all calls, but the one that ended the episode.

    Raises:
        LookupError: There is no such place.
    """
    opening = list(takewhile(lambda call: not (call.reply or {}).get("done"), calls))
    if place is None:
        return opening
    for index in reversed(range(len(opening))):
        call = opening[index]
        if call.tool == "save_checkpoint" and call.reply is not None and call.arguments.get("name") == place:
            return opening[: index + 1]
    if place.isascii() and place.isdigit():
        return _cut_at_epoch(opening, int(place))
    raise LookupError(f"it has no checkpoint {shown(place)}")


def _as_recorded(reply: Reply | None, recorded: Mapping[str, Any] | None) -> Reply | None:
    """A reply without the fields that replies did not have yet when it was recorded."""
    if reply is None or recorded is None:
        return reply
    return {name: value for name, value in reply.items() if name in recorded}


def _same(one: object, other: object) -> bool:
    """Whether two replies are equal once they have been through JSON."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _told(now: Mapping[str, Any] | None, recorded: Mapping[str, Any] | None) -> str:
    """In which fields two replies differ."""
    if now is None or recorded is None:
        return "it was refused" if now is None else "it was accepted"
    return ", ".join(key for key in {**now, **recorded} if not _same(now.get(key), recorded.get(key)))


async def _carried_out(episode: Episode, call: CallRecord) -> Reply | None:
    try:
        return await perform(episode, call.tool, call.arguments)
    except (EpisodeError, ConfigError):
        return None


def _cut_at_epoch(calls: Sequence[CallRecord], epochs: int) -> list[CallRecord]:
    spent, kept = 0, []
    for call in calls:
        if spent == epochs:
            break
        wanted = epochs - spent
        if len(call.epochs) > wanted:
            # Chunks do not matter: the call might as well have asked for fewer. Its reply will be another.
            call = replace(call, arguments={"num_epochs": wanted}, epochs=call.epochs[:wanted], reply=None, error=None)
        spent += len(call.epochs)
        kept.append(call)
    if spent != epochs:
        raise LookupError(f"it has run {spent} epochs, not {epochs}")
    return kept
