"""The tuning game as a Gymnasium environment."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ml_trainer_env.baselines.session import Brief, Reply
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.integrations.gymnasium.tuning_actions import BEST, CHOICES, NOTHING, Choice, Plan, Weights
from ml_trainer_env.integrations.gymnasium.tuning_features import BOUND, FEATURES, Seen, features
from ml_trainer_env.server.datasets import ExampleDraw, TaskExamples, draw_examples
from ml_trainer_env.server.tuning.families.tasks import count_family_tasks, family_task
from ml_trainer_env.server.tuning.grading import RubricVersion

__all__ = ["TuningEnv"]

_MOST_EPOCHS = 20
"""The most epochs of one call."""

_CACHED_DRAWS = 256
"""Number of tasks whose examples stay in memory, about a megabyte each."""

Observation = npt.NDArray[np.float32]
Action = npt.NDArray[np.int64]


class TuningEnv(gymnasium.Env[Observation, Action]):
    """`MLTrainer-v0`: take over the training of a small network, and make the best of a budget of epochs.

    ## Description

    A network trains on drawn examples. The settings are seldom the right ones, its weights may be spoilt, labels may be
    wrong, and something may change on the way. The budget of 4 to 60 epochs is cut into chunks (an eighth of it each,
    rounded up). A step of the environment is a decision and a chunk of real training. The episode is played in this
    process, on one thread, without a server. It is the same game that agents play with tools: a step makes at most four
    calls of tools.

    ## Action Space

    `MultiDiscrete([5, 3, 3, 3, 3, 2])`: six choices that are carried out together, in this order of parts.

    | Num | Part | Numbers from 0 |
    |---|---|---|
    | 0 | learning rate, times | 1/10, 1/3, 1, 3, 10 |
    | 1 | optimizer | as it is; AdamW with rate 0.003 and batches of 32; SGD with rate 0.05 and batches of 32 |
    | 2 | regularisation | a level less, as it is, a level more |
    | 3 | schedule | as it is, constant, cosine to the end of the budget |
    | 4 | weights | as they are, fresh ones, the best ones so far |
    | 5 | then | train a chunk, submit |

    The rate is multiplied after the optimizer is chosen. The levels of regularisation are dropout 0, 0.1, 0.2, 0.4 with
    augmentation 0, 0.3, 0.6, 1 and a weight decay of 0, 0.05, 0.1, 0.2 (a hundredth of it for SGD). Where a rate or a
    schedule is set, a schedule spans the rest of the budget. The best weights are those with the best validation figure
    at the end of a chunk, with the state of their optimizer. No choice refunds an epoch.

    An impossible action is never an error: the step replaces what is impossible, and `info["replaced"]` is true.
    `info["action_mask"]` (int8, all parts one after another) and `action_masks()` show which numbers mean something.
    Before the first chunk there is nothing to submit: the step trains. Once the budget is spent it submits, and only
    the choice of weights counts. Weights that diverged cannot be trained on: the step takes the best ones, or else
    fresh ones.

    ## Observation Space

    `Box(-5, 5, (46,), float32)`: what the replies of the tools tell, scaled to be near 1; `tuning_features.FEATURES`
    has the names. They are facts of the task (budget, sizes, chance accuracy, kind and shape of the network), the share
    of the budget that is spent, the settings in force, and the figures of the last chunk beside the one before: losses
    as multiples of a guess's, accuracies between that of a guess (0) and 1, their gap, changes and trend, the best so
    far, gradient norm, update ratio and dead units. Before the first chunk the figures are those of a guess. Hidden
    examples, the references of the score and what was spoilt show in no observation, nor does the wall clock.

    ## Rewards

    Those of the episode, so they sum to its total: 0.05 times the gain in best validation accuracy, and the score when
    the model is submitted. Under rubric `v3` the score is where the submitted model stands on hidden examples: 0 as if
    nothing had been decided, 1 as the best that calibration found, cut at -0.25 and 1. Do not discount: take gamma 1.

    ## Starting State

    `reset(seed=...)` draws a task of the split and one of `seeds`, which is added to the task's own seed; later resets
    without a seed draw on. The same seed and actions give the same observations and rewards to the bit, on one machine.

    ## Episode End

    Termination when the model is submitted, after at most 9 steps. There is no truncation.

    ## Arguments

    | Parameter | Type | Default | Description |
    |---|---|---|---|
    | `split` | str | `train` | split of the tasks |
    | `indices` | sequence of int | all | tasks that may be drawn |
    | `rubric` | str | `v3` | `accuracy`: accuracy on hidden examples, also for tasks that were not calibrated |
    | `seeds` | sequence of int | 0, 1, 2, 3 | seeds relative to the task's own; see below |
    | `chunks` | int | 8 | number of chunks, 2 to 30 |

    What happened to the weights before the episode is trained once for each task and seed, and remembered. It may cost
    more than the episode, so fewer seeds are cheaper.

    Options of `reset`: `index` and `seed`, in place of a draw.

    ```python
    >>> import gymnasium
    >>> import ml_trainer_env.integrations.gymnasium
    >>> env = gymnasium.make("MLTrainer-v0")
    >>> observation, info = env.reset(seed=1)
    >>> observation, reward, terminated, truncated, info = env.step([3, 1, 2, 2, 1, 0])

    ```

    ## Vectorized environment

    `gymnasium.make_vec("MLTrainer-v0", num_envs=4, vectorization_mode="async", vector_kwargs={"context": "spawn"})`.
    Where torch sees a GPU, a process that has used it cannot be forked, hence `spawn`. Then the id needs its module:
    `ml_trainer_env.integrations.gymnasium:MLTrainer-v0`.

    ## Version History

    * v0: Initial version, of family version 1.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 - Gymnasium's own
    nothing = NOTHING

    def __init__(
        self,
        split: str = "train",
        indices: Sequence[int] | None = None,
        rubric: str = "v3",
        seeds: Sequence[int] = (0, 1, 2, 3),
        chunks: int = 8,
        render_mode: str | None = None,
    ) -> None:
        self.split = split
        self.rubric = RubricVersion(rubric)
        self.indices = tuple(range(count_family_tasks(self.split)) if indices is None else indices)
        if not self.indices or not seeds:
            raise ValueError(f"split {self.split!r} has no calibrated tasks here: name indices and rubric='accuracy'")
        if not self.rubric.is_hidden or not 2 <= chunks <= 30:
            raise ValueError("rubric is v3 or accuracy, and chunks are 2 to 30")
        self.seeds, self.chunks = tuple(seeds), chunks
        self.render_mode = render_mode
        self.action_space = spaces.MultiDiscrete(list(CHOICES))
        self.observation_space = spaces.Box(-BOUND, BOUND, (len(FEATURES),), np.float32)
        self._session: LocalSession | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of the draws of this episode and the next ones. None to go on with the draws.
            options: `index` and `seed`, in place of a draw.

        Raises:
            ValueError: The task cannot be graded by the rubric.
        """
        super().reset(seed=seed)
        given = options or {}
        index = int(given["index"] if "index" in given else self.np_random.choice(self.indices))
        offset = int(given["seed"] if "seed" in given else self.np_random.choice(self.seeds))
        self._begin(self.new_session(index, offset))
        return features(self._seen), self._info()

    def new_session(self, index: int, seed: int) -> LocalSession:
        """Return the session of a new episode, for agents that play with the tools.

        Args:
            index: Index of the task in the split.
            seed: Added to the task's own seed.

        Raises:
            ValueError: The task cannot be graded by the rubric.
        """
        task = family_task(self.split, index)
        if self.rubric is RubricVersion.V3 and task.reference is None:
            raise ValueError(f"{task.id} was not calibrated, so rubric v3 cannot grade it: use rubric='accuracy'")
        assert isinstance(task.examples, ExampleDraw)
        return LocalSession(trainer_of_process(), task, _drawn(task.examples), task.seed + seed, self.rubric)

    def _begin(self, session: LocalSession) -> None:
        self._session, self._brief = session, session.brief
        self._seen = Seen(self._brief, session.call("get_training_status", {}))
        self._best, self._best_is_fresh = -math.inf, False
        self._reward = 0.0

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Carry out an action.

        Raises:
            gymnasium.error.ResetNeeded: There is no episode, or it is over.
            ValueError: The action is not one of the action space.
        """
        session = self._session
        if session is None or session.episode.done:
            raise gymnasium.error.ResetNeeded("call reset before step")
        plan, wanted = self._plan(), Choice.of([int(number) for number in action])
        choice = plan.possible(wanted)
        replies = [session.call(tool, arguments) for tool, arguments in plan.calls(choice)]
        reward = sum(float(reply["reward"]) for reply in replies)
        self._reward += reward
        if not (done := bool(replies[-1]["done"])):
            self._see(choice, replies[-1])
        info = self._info() | {"replaced": choice != wanted}
        if done:
            info |= {"score": session.episode.score, "episode_reward": self._reward}
        return features(self._seen), reward, done, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return which numbers of each part mean something now, all parts one after another."""
        return np.concatenate([np.array(part) for part in self._plan().masks()])

    def render(self) -> str | None:
        """Return a line of text on the run, if the render mode is `ansi`."""
        if self.render_mode != "ansi" or self._session is None:
            return None
        reply = self._seen.reply
        return (
            f"{self._brief.task_id}: epoch {reply['current_epoch']} of {self._brief.budget_epochs}, "
            f"rate {reply['learning_rate']:.3g}, validation accuracy {reply['val_accuracy']}, "
            f"best {reply['best_val_accuracy']}, reward so far {self._reward:.4f}"
        )

    def _see(self, choice: Choice, reply: Reply) -> None:
        """Take in the reply to a chunk, and save the weights if they are the best so far."""
        assert self._session is not None
        seen, spent = self._seen, reply["current_epoch"] - self._seen.reply["current_epoch"]
        kept_for = spent if choice.weights is not Weights.KEEP else seen.kept_for + spent
        is_fresh = {Weights.KEEP: seen.is_fresh, Weights.FRESH: True, Weights.BEST: self._best_is_fresh}[choice.weights]
        self._seen = Seen(self._brief, reply, seen.reply if seen.reply["current_epoch"] else None, is_fresh, kept_for)
        if not reply["is_diverged"] and (worth := _worth(self._brief, reply)) > self._best:
            self._best, self._best_is_fresh = worth, is_fresh
            self._session.call("save_checkpoint", {"name": BEST})

    def _plan(self) -> Plan:
        reply, chunk = self._seen.reply, math.ceil(self._brief.budget_epochs / self.chunks)
        return Plan(
            configuration=reply["configuration"],
            largest_batch=self._brief.largest_batch,
            epochs=min(chunk, _MOST_EPOCHS, reply["remaining_budget"]),
            has_model=reply["current_epoch"] > 0,
            has_best=self._best > -math.inf,
            is_diverged=reply["is_diverged"],
        )

    def _info(self) -> dict[str, Any]:
        return {"task": self._brief.task_id, "action_mask": self.action_masks().astype(np.int8)}


def _worth(brief: Brief, reply: Reply) -> float:
    """Return the validation figure by which models are compared: the accuracy, or minus the loss for the next token."""
    value = reply["val_loss"] if brief.is_graded_by_loss else reply["val_accuracy"]
    if value is None:
        return -math.inf
    return -float(value) if brief.is_graded_by_loss else float(value)


@lru_cache(maxsize=_CACHED_DRAWS)
def _drawn(draw: ExampleDraw) -> TaskExamples:
    return draw_examples(draw)
