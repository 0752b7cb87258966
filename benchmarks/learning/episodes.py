"""Episodes of the Gymnasium environments for a learner, played in worker processes.

An episode follows from the policy, the task and a seed, whichever process plays it. So the number of processes changes
no bit of what is learned.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from fleet_episodes import Recall, SharingFleetEnv
from fleet_teacher import advised
from policy import Batch, Weights, act

import ml_trainer_env.integrations.gymnasium  # noqa: F401  # registers the environments
from ml_trainer_env.baselines.agent import Agent
from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
from ml_trainer_env.baselines.fleet.simple import ScriptedAgent
from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.calibration.portfolio import RECIPES
from ml_trainer_env.integrations.gymnasium import FLEET_ID
from ml_trainer_env.integrations.gymnasium.fleet_actions import Act

__all__ = ["AGENTS", "NOTHING", "RANDOM", "Episode", "Order", "Player", "joined", "played", "shape_of"]

NOTHING, RANDOM = "nothing", "random"
"""Players that decide nothing, and at random among what is possible."""

AGENTS: Mapping[str, Mapping[str, Any]] = {
    "MLTrainer-v0": {"heuristic": HeuristicAgent(), "fixed recipe": RECIPES[1], "prober": ProbingAgent()},
    "MLFleet-v0": {"scripted": ScriptedAgent(), "detective": DetectiveAgent()},
}
"""Agents that play with the tools, by environment."""

Player = str | Weights
"""The name of a player, or the arrays of a policy."""


@dataclass(frozen=True)
class Order:
    """An episode that is to be played.

    Attributes:
        environment: Id of the environment.
        arguments: Arguments of the environment, as pairs.
        index: Index of the task in the split.
        seed: Seed, relative to the task's own.
        player: Who plays.
        chance: Seed of the player's draws. Empty for the most likely actions.
        taught: Probability with which an act that the fleet's teacher advises is carried out, whatever the player
            decides. None without a teacher.
    """

    environment: str
    arguments: tuple[tuple[str, Any], ...]
    index: int
    seed: int
    player: Player
    chance: tuple[int, ...] = ()
    taught: float | None = None


@dataclass(frozen=True)
class Episode:
    """An episode that was played.

    Attributes:
        index: Index of the task.
        steps: Its steps. Without any for an agent that plays with the tools.
        reward: The sum of its rewards.
        score: Its score. NaN if it has none.
        cpu_s: CPU seconds.
        advice: What the teacher would have done, int64 (steps,). None without one.
    """

    index: int
    steps: Batch | None
    reward: float
    score: float
    cpu_s: float
    advice: npt.NDArray[np.int64] | None = None


@cache
def shape_of(environment: str, arguments: tuple[tuple[str, Any], ...]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return number of features, number of choices of each part, and the action that changes nothing."""
    env = _environment(environment, arguments)
    space = env.action_space
    parts = tuple(map(int, space.nvec)) if isinstance(space, gymnasium.spaces.MultiDiscrete) else (int(space.n),)
    return env.observation_space.shape[0], parts, tuple(env.unwrapped.nothing)


def played(order: Order) -> Episode:
    """Play an episode."""
    torch.set_num_threads(1)
    began = time.process_time()
    if isinstance(order.player, str) and order.player in AGENTS[order.environment]:
        session = _environment(order.environment, order.arguments).unwrapped.new_session(order.index, order.seed)
        agent: Agent = AGENTS[order.environment][order.player]
        turns = play(agent, session)
        reward = sum(turn.outcome.reply["reward"] for turn in turns if turn.outcome.reply is not None)
        return Episode(order.index, None, reward, session.reply["score"], time.process_time() - began)
    steps, score, advice = _steps(order)
    return Episode(order.index, steps, float(steps.rewards.sum()), score, time.process_time() - began, advice)


def joined(batches: Sequence[Batch]) -> Batch:
    """Return the steps of all batches, one after another."""
    return Batch(
        *(
            np.concatenate([getattr(one, name) for one in batches])
            for name in ("observations", "actions", "masks", "rewards", "ends")
        )
    )


@cache
def _environment(environment: str, arguments: tuple[tuple[str, Any], ...]) -> Any:
    if environment == FLEET_ID:
        return Recall(SharingFleetEnv(**dict(arguments)))
    return gymnasium.make(environment, disable_env_checker=True, **dict(arguments))


def _steps(order: Order) -> tuple[Batch, float, npt.NDArray[np.int64] | None]:
    env = _environment(order.environment, order.arguments)
    _, parts, kept = shape_of(order.environment, order.arguments)
    chance = np.random.default_rng(order.chance) if order.chance else None
    observation, info = env.reset(options={"index": order.index, "seed": order.seed})
    rows: list[tuple[Any, ...]] = []
    advice: list[int] = []
    done = False
    while not done:
        mask = info["action_mask"].astype(bool)
        action = None
        if order.taught is not None:
            assert chance is not None
            advice.append(int(advised(env.unwrapped.view, env.unwrapped.run)))
            if chance.random() < order.taught and advice[-1] != Act.NOTHING:
                action = np.array(advice[-1:])
        if action is None:
            action = _action(order.player, parts, kept, observation, mask, chance)
        given = action if isinstance(env.action_space, gymnasium.spaces.MultiDiscrete) else action[0]
        after, reward, terminated, truncated, info = env.step(given)
        done = terminated or truncated
        rows.append((observation, action, mask, np.float32(reward), done))
        observation = after
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Batch(*columns), float(info.get("score", np.nan)), np.array(advice) if advice else None


def _action(
    player: Player,
    parts: tuple[int, ...],
    kept: tuple[int, ...],
    observation: Any,
    mask: Any,
    chance: np.random.Generator | None,
) -> Any:
    if player == NOTHING:
        return np.array(kept)
    if player == RANDOM:
        assert chance is not None
        return np.array([chance.choice(np.flatnonzero(part)) for part in np.split(mask, np.cumsum(parts)[:-1])])
    assert not isinstance(player, str)
    return act(player, parts, observation, mask, chance)
