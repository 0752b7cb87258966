"""The fleet as a Gymnasium environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ml_trainer_env.baselines.session import CallRefusedError, Reply
from ml_trainer_env.in_process.fleet import LocalFleetSession
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.integrations.gymnasium.fleet_actions import Act, calls_of
from ml_trainer_env.integrations.gymnasium.fleet_features import BOUND, FEATURES, features
from ml_trainer_env.integrations.gymnasium.fleet_references import FleetReferences, Scale
from ml_trainer_env.integrations.gymnasium.fleet_view import View
from ml_trainer_env.server.fleet.tasks import count_tasks, task_at

__all__ = ["FleetEnv"]

_MOST_STEPS = 50
"""The most steps of one call."""

_LEAST_CHUNK = 8
"""With smaller chunks an episode could run out of calls."""

Observation = npt.NDArray[np.float32]
Action = np.int64


class _EndedError(Exception):
    """The episode ended within an act."""


class FleetEnv(gymnasium.Env[Observation, Action]):
    """`MLFleet-v0`: keep a training run on a cluster alive.

    ## Description

    A character transformer trains on eight ranks, something may break, and the nodes are reserved for 360 s of virtual
    time. A step of the environment is an act, or none, and then ten steps of training, or fewer if the job dies on the
    way. The episode is played in this process, on one thread, without a server. It is the same game that agents play
    with tools. After each chunk the environment makes the free queries of the tools by itself.

    ## Action Space

    `Discrete(25)`: the members of `fleet_actions.Act`. An act is aimed at whatever stands out in the figures of the
    last chunk, such as the node that computes the longest; whether it should be done is for the policy to decide.

    | Num | Act | Num | Act |
    |---|---|---|---|
    | 0 | let the job run | 13 | halve the steps between checkpoints |
    | 1 | take out the slowest node | 14 | save every 100 steps |
    | 2 | take out the node of the greatest gradient norm | 15 | a third of the learning rate |
    | 3 | take out the node of the highest loss | 16 | three times the learning rate |
    | 4 | take out the node that died last | 17 | switch the sampler's offset |
    | 5 | test nodes, take out one with a slow link | 18 | record no activations |
    | 6 | drain the node announced to be powered off | 19 | set the schedule to the step |
    | 7 | use the drained node again | 20 | restart from the newest checkpoint |
    | 8 | leave out the shard of the strangest loss | 21 | the same with a fresh optimizer |
    | 9 | mirror the slowest shard | 22 | restart from the checkpoint before |
    | 10 | make all replicas equal | 23 | restart from the last calm checkpoint |
    | 11 | dynamic loss scale | 24 | the same, and skip 24 positions in the data |
    | 12 | skip what is not finite, go back to the last calm checkpoint | | |

    An act without a target, or one that is refused (no spare, too little time left), is never an error: the run trains
    on, and `info["refused"]` is true. Acts cost virtual time as `docs/fleet.md` tells.

    ## Observation Space

    `Box(-5, 5, (44,), float32)`: what the replies of the tools tell, scaled to be near 1; `fleet_features.FEATURES` has
    the names. They are the tier, the clock, nodes and shards, loss and gradient, the settings, how far the group that
    stands out most in each metric is from the others, deaths, and what is announced. What goes wrong and the references
    of the score show in no observation.

    ## Rewards

    Those of the episode, so they sum to its total, which is the score: a potential of 0.02 for a nat of training loss
    on the way, paid back at the end, and the score. With `scale="repair"` the score is the game's own, the share of the
    harm that was repaired; for it two runs of the same seed are trained, up to 12 CPU seconds, unless `references` has
    them. With `scale="loss"` it is how far the held-out loss is on the way from ln 96 (0) to 1.84 nats (1), which costs
    nothing. Do not discount: take gamma 1.

    ## Starting State

    `reset(seed=...)` draws a task of the split and one of `seeds`, which is added to the task's own seed; later resets
    without a seed draw on. The same seed and actions give the same observations and rewards to the bit, on one machine.

    ## Episode End

    Termination when the reservation is spent, after about 30 steps: the model is submitted by itself. There is no
    truncation.

    ## Arguments

    | Parameter | Type | Default | Description |
    |---|---|---|---|
    | `split` | str | `train` | split of the tasks: `train` (512), `validation`, `test` (128 each), `named` |
    | `indices` | sequence of int | all | tasks that may be drawn |
    | `scale` | str | `repair` | what the score is relative to, `repair` or `loss` |
    | `references` | path | none | file of references, which grows; processes may share it |
    | `seeds` | sequence of int | 0 | seeds relative to the task's own: another one is another incident |
    | `chunk` | int | 10 | steps of training after an act, 8 to 50 |

    Options of `reset`: `index` and `seed`, in place of a draw.

    ```python
    >>> import gymnasium
    >>> import ml_trainer_env.integrations.gymnasium
    >>> env = gymnasium.make("MLFleet-v0", scale="loss")
    >>> observation, info = env.reset(seed=1)
    >>> observation, reward, terminated, truncated, info = env.step(0)

    ```

    ## Vectorized environment

    As for `MLTrainer-v0`: `gymnasium.make_vec` in processes that are spawned.

    ## Version History

    * v0: Initial version, of the fleet's rules 1.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 - Gymnasium's own
    nothing = (int(Act.NOTHING),)

    def __init__(
        self,
        split: str = "train",
        indices: Sequence[int] | None = None,
        scale: str = "repair",
        references: str | Path | None = None,
        seeds: Sequence[int] = (0,),
        chunk: int = 10,
        render_mode: str | None = None,
    ) -> None:
        self.split, self.seeds, self.chunk = split, tuple(seeds), chunk
        self.indices = tuple(range(count_tasks(split)) if indices is None else indices)
        if not self.indices or not seeds:
            raise ValueError(f"there are no tasks {split!r}, or no seeds")
        if not _LEAST_CHUNK <= chunk <= _MOST_STEPS:
            raise ValueError(f"chunk is {_LEAST_CHUNK} to {_MOST_STEPS}, got {chunk}")
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(len(Act))
        self.observation_space = spaces.Box(-BOUND, BOUND, (len(FEATURES),), np.float32)
        self._references = FleetReferences(Scale(scale), None if references is None else Path(references))
        self._session: LocalFleetSession | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of the draws of this episode and the next ones. None to go on with the draws.
            options: `index` and `seed`, in place of a draw.
        """
        super().reset(seed=seed)
        given = options or {}
        index = int(given["index"] if "index" in given else self.np_random.choice(self.indices))
        offset = int(given["seed"] if "seed" in given else self.np_random.choice(self.seeds))
        self._session = self.new_session(index, offset)
        self._view = View(self._session.brief, self._session.brief.status)
        self._reward = 0.0
        return features(self._view), self._info()

    def new_session(self, index: int, seed: int) -> LocalFleetSession:
        """Return the session of a new episode, for agents that play with the tools.

        Args:
            index: Index of the task in the split.
            seed: Added to the task's own seed.
        """
        task = task_at(self.split, index)
        known = self._references.of(task, task.seed + seed)
        return LocalFleetSession(trainer_of_process(), task, task.seed + seed, known)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Carry out an act, and train.

        Raises:
            gymnasium.error.ResetNeeded: There is no episode, or it is over.
            ValueError: The action is not one of the action space.
        """
        if self._session is None or self._session.episode.done:
            raise gymnasium.error.ResetNeeded("call reset before step")
        before, refused, done = self._reward, False, False
        try:
            refused = self._act(Act(int(action)))
            reply = self._call("run_steps", {"num_steps": self.chunk, "stop_on": "restart"})
            self._view = self._view.after(reply, self._call)
        except _EndedError:  # the last observation stands
            done = True
        info = self._info() | {"refused": refused}
        if done:
            info |= {"score": self._session.episode.score, "episode_reward": self._reward}
        return features(self._view), self._reward - before, done, False, info

    def render(self) -> str | None:
        """Return a line of text on the run, if the render mode is `ansi`."""
        if self.render_mode != "ansi" or self._session is None:
            return None
        status = self._view.status
        return (
            f"{self._view.brief.task_id}: step {status['step']}, {status['clock_s']:.0f} of "
            f"{status['reservation_s']:.0f} s, loss {status['loss']}, {status['restarts']} restarts, reward so far "
            f"{self._reward:.4f}"
        )

    def _act(self, act: Act) -> bool:
        """Carry out an act. Returns whether it was refused or had no target."""
        calls, reply, count = calls_of(act, self._view), None, 0
        try:
            while True:
                tool, arguments = calls.send(reply)  # type: ignore[arg-type]  # the first one is None
                reply = self._call(tool, arguments)
                count += 1
        except StopIteration:
            return count == 0 and act is not Act.NOTHING
        except CallRefusedError:
            return True

    def _call(self, tool: str, arguments: Mapping[str, object]) -> Reply:
        """Make a call, and add its reward.

        Raises:
            CallRefusedError: It was refused.
            _EndedError: It ended the episode.
        """
        assert self._session is not None
        reply = self._session.call(tool, arguments)
        self._reward += reply["reward"]
        if reply["done"]:
            raise _EndedError
        return reply

    def _info(self) -> dict[str, Any]:
        return {"task": self._view.brief.task_id, "action_mask": np.ones(len(Act), np.int8)}
