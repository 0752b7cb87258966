"""How an episode gets its epochs: from the cache, from a session that is just training them, or from the executor."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.episodes.models import Model, TrainedEpoch
from ml_trainer_env.server.executors.contract import EpochJob, EpochResult, Executor, ExecutorError, HeldOutJob
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.store import EpochFigures, EpochStore, StateStore, StoreError
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.lineage import epoch_key, fresh_key
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

__all__ = ["LiveTrainer", "OnWait", "Recipe", "Trainer"]

_LOG = logging.getLogger(__name__)

OnWait = Callable[[int], None]
"""Told of the position in the queue while an epoch waits for a worker; 1 is next."""

RECENT_EPOCHS = 4096
"""Figures of the epochs trained last, kept in memory for sessions that follow on the heels of another."""


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What an epoch is trained with.

    Attributes:
        config: The settings.
        plan: The learning rate by epoch.
        data: The task's images.
        task_id: For the counters.
        permutation: What is done to the images; None leaves them as they are.
    """

    config: TrainingConfig
    plan: LearningRatePlan
    data: Examples
    task_id: str
    permutation: Permutation | None = None

    @property
    def images(self) -> str:
        """Names the content of the images as they are trained on."""
        return self.data.key if self.permutation is None else f"{self.data.key}:{self.permutation.key}"


class Trainer(Protocol):
    """Gives an episode its models and epochs."""

    async def identity(self) -> Identity:
        """What its results depend on besides what was asked for. Waits until a worker has told it.

        Raises:
            ExecutorError: No worker can be started.
        """
        ...

    def fresh(self, fresh: FreshState) -> Model:
        """Fresh weights, to be drawn when they are needed."""
        ...

    async def known(self, model: Model, recipe: Recipe, epochs: int) -> list[TrainedEpoch]:
        """The epochs from here on that need no training, at most `epochs` of them."""
        ...

    async def epoch(self, model: Model, recipe: Recipe, on_wait: OnWait) -> TrainedEpoch:
        """Train for one epoch.

        Raises:
            ExecutorError: It could not be trained.
        """
        ...

    async def held_out_accuracy(self, model: Model, recipe: Recipe) -> float:
        """Share of the held-out images classified right.

        Raises:
            ExecutorError: It could not be measured.
        """
        ...

    async def keep(self, model: Model) -> Model:
        """Put a model's arrays away, to be found again after a restart. Returns it without them if that went well."""
        ...


class LiveTrainer:
    """Trains epochs for all sessions of a server.

    Args:
        executor: Where training runs.
        states: Where models are kept; None keeps them in the episode.
        epochs: What is known of epochs trained before; None trains every epoch.
        telemetry: Counts epochs.
        epoch_timeout_s: How long an epoch may take once it has begun.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        states: StateStore | None = None,
        epochs: EpochStore | None = None,
        telemetry: Telemetry | None = None,
        epoch_timeout_s: float = 120.0,
    ) -> None:
        self._executor = executor
        self._identity_key: str | None = None
        self._states = states
        self._epochs = epochs
        self._telemetry = telemetry
        self._epoch_timeout_s = epoch_timeout_s
        self._recent: OrderedDict[str, EpochFigures] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    async def identity(self) -> Identity:
        """What its results depend on besides what was asked for."""
        return await self._executor.identity()

    def fresh(self, fresh: FreshState) -> Model:
        """Fresh weights, to be drawn when they are needed."""
        return Model(fresh_key(fresh), fresh.epoch, fresh=fresh)

    async def known(self, model: Model, recipe: Recipe, epochs: int) -> list[TrainedEpoch]:
        """The epochs from here on that need no training, at most `epochs` of them."""
        if self._epochs is None:
            return []
        following = [await self._after(model, recipe)]
        while len(following) < epochs:
            following.append(await self._after(following[-1], recipe))
        stored = await self._epochs.find([m.key for m in following])
        prefix: list[TrainedEpoch] = []
        for blank in following:
            figures = stored.get(blank.key) or self._recent.get(blank.key)
            if figures is None:
                break
            parent = prefix[-1].model if prefix else model
            prefix.append(self._trained(replace(blank, parent=parent), recipe, figures, from_cache=True))
            if figures.metrics.diverged:
                break
        return prefix

    async def epoch(self, model: Model, recipe: Recipe, on_wait: OnWait) -> TrainedEpoch:
        """Train for one epoch."""
        after = await self._after(model, recipe)
        if self._epochs is not None and (figures := self._recent.get(after.key)):
            return self._trained(after, recipe, figures, from_cache=True)
        shared = self._epochs is not None and after.key in self._flights
        result = await self._train(after, recipe, on_wait)
        return self._trained(after, recipe, _figures(after.key, result), from_cache=shared, state=result.state)

    async def held_out_accuracy(self, model: Model, recipe: Recipe) -> float:
        """Share of the held-out images classified right."""
        state = await self._state(model, recipe, lambda _: None)
        if isinstance(state, FreshState):
            raise ExecutorError("a model that has not been trained is not measured")
        job = HeldOutJob(state, recipe.data, recipe.permutation)
        return await self._executor.held_out_accuracy(job, self._epoch_timeout_s)

    async def keep(self, model: Model) -> Model:
        """Put a model's arrays away, to be found again after a restart."""
        if self._states is None or model.state is None:
            return model
        try:
            await self._states.save(model.key, model.state)
        except (OSError, StoreError) as error:
            # Nothing is lost: it is held on to here, and elsewhere it can be trained again.
            _LOG.warning("a model cannot be kept: %s", error)
            return model
        return replace(model, state=None)

    async def _after(self, model: Model, recipe: Recipe) -> Model:
        """The model that an epoch of `recipe` makes of `model`: known by name before it is trained."""
        identity, rate = await self._own_identity(), recipe.plan.rate_at(model.epoch)
        key = epoch_key(identity, model.key, recipe.config, rate, recipe.images)
        return Model(key, model.epoch + 1, parent=model, config=recipe.config, plan=recipe.plan, identity=identity)

    async def _own_identity(self) -> str:
        """The key of the executor's identity."""
        if self._identity_key is None:
            self._identity_key = (await self._executor.identity()).key
        return self._identity_key

    def _trained(
        self,
        blank: Model,
        recipe: Recipe,
        figures: EpochFigures,
        *,
        from_cache: bool,
        state: TrainingState | None = None,
    ) -> TrainedEpoch:
        if self._telemetry is not None:
            self._telemetry.epoch(recipe.task_id, figures.seconds, from_cache)
        assert blank.parent is not None
        # The parent's arrays are not needed any more: a chain of models must not hold them all.
        parent = replace(blank.parent, state=None)
        model = replace(blank, parent=parent, weights_hash=figures.weights_hash, state=state)
        return TrainedEpoch(model, figures.metrics, figures.seconds, from_cache)

    async def _train(self, after: Model, recipe: Recipe, on_wait: OnWait) -> EpochResult:
        """Train the epoch that ends in `after`, together with whoever else wants it now."""
        if self._epochs is None:
            return await self._run(after, recipe, on_wait)
        flight = self._flights.get(after.key)
        if flight is None:
            flight = self._flights[after.key] = _Flight(lambda tell: self._run(after, recipe, tell))
            flight.task.add_done_callback(lambda _: self._land(after.key, flight))
        try:
            return await flight.result(on_wait)
        finally:
            if flight.is_abandoned:
                self._land(after.key, flight)

    def _land(self, key: str, flight: "_Flight") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _run(self, after: Model, recipe: Recipe, on_wait: OnWait) -> EpochResult:
        assert after.parent is not None
        state = await self._state(after.parent, recipe, on_wait)
        job = EpochJob(state, recipe.config, recipe.plan, recipe.data, recipe.permutation)
        result = await self._executor.run_epoch(job, self._epoch_timeout_s, on_wait)
        if result.identity != await self._own_identity():
            raise ExecutorError("the epoch was trained by a worker of another identity, and is not used")
        if after.identity != result.identity:
            return result  # a model of another identity, trained again: what it is named by must not name this
        self._recent[after.key] = _figures(after.key, result)
        if len(self._recent) > RECENT_EPOCHS:
            self._recent.popitem(last=False)
        if self._states is not None:
            self._states.hold(after.key, result.state)
        return result

    async def _state(self, model: Model, recipe: Recipe, on_wait: OnWait) -> TrainingState | FreshState:
        """The arrays of a model: held, kept, or trained again from those it came from.

        Whatever they come from, they have the weights that were recorded.

        Raises:
            ExecutorError: They could not be trained again, or came out different.
        """
        if model.state is not None:
            return model.state
        if model.fresh is not None:
            return model.fresh
        found = None if self._states is None else await self._states.find(model.key)
        if found is not None and weights_hash(found) == model.weights_hash:
            return found
        assert model.config is not None
        assert model.plan is not None
        result = await self._train(model, replace(recipe, config=model.config, plan=model.plan), on_wait)
        if result.weights_hash != model.weights_hash:
            raise ExecutorError(
                "a lost model was trained again and came out different: the program or the machine has "
                "changed since; restore a checkpoint or reinitialize"
            )
        if self._states is not None:
            self._states.hold(model.key, result.state)
        return result.state


class _Flight:
    """An epoch that is being trained, for one session or several; it stops when nobody waits any more."""

    def __init__(self, train: Callable[[OnWait], Coroutine[Any, Any, EpochResult]]) -> None:
        self.task = asyncio.ensure_future(train(self._tell))
        self._listeners: list[OnWait] = []

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it, so that it is stopping."""
        return not self._listeners

    async def result(self, on_wait: OnWait) -> EpochResult:
        """Wait for it."""
        self._listeners.append(on_wait)
        try:
            return await asyncio.shield(self.task)
        finally:
            self._listeners.remove(on_wait)
            if self.is_abandoned:
                self.task.cancel()

    def _tell(self, position: int) -> None:
        for listener in tuple(self._listeners):
            listener(position)


def _figures(key: str, result: EpochResult) -> EpochFigures:
    return EpochFigures(key, result.metrics, result.weights_hash, result.seconds)
