"""What the clients do and when the killer strikes: values, drawn from a seed, the same every time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

BUDGET_PART = (40, 46)
"""Epochs of an episode, at least and at most; the task's budget is 100."""

LAST_MOMENT = 0.8
"""The killer's last strike comes when this part of all epochs has run."""


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


STATUS = Call("get_training_status")


def script(seed: str) -> list[Call]:
    """The calls of an episode: some epochs, something else, some epochs, ... and the submission.

    Among them are calls that are refused. Fresh weights are drawn once.
    """
    draw = random.Random(seed)
    left = epochs = draw.randint(*BUDGET_PART)
    calls = [Call("configure_training", {"batch_size": 256, "learning_rate": 0.002, "lr_schedule": "cosine"})]
    is_fresh_again = False
    while left:
        wanted = min(left, draw.randint(1, 4))
        calls.append(Call("run_epochs", {"num_epochs": wanted}))
        left -= wanted
        calls.append(draw.choice(_ASIDES)(draw))
        if left < epochs / 2 and not is_fresh_again:
            is_fresh_again = True
            calls.append(Call("configure_training", {"reinitialize": True, "dropout": 0.1}))
    return [*calls, STATUS, Call("submit_model")]


def epochs_of(calls: list[Call]) -> int:
    """How many epochs a script runs."""
    wanted = (call.arguments["num_epochs"] for call in calls if call.tool == "run_epochs")
    return sum(epochs for epochs in wanted if epochs <= 20)


def _configure(draw: random.Random) -> Call:
    settings: dict[str, tuple[Any, ...]] = {
        "optimizer": ("sgd", "adam", "adamw"),
        "learning_rate": (0.001, 0.003, 0.005),
        "batch_size": (128, 256),
        "weight_decay": (0.0, 0.01),
        "dropout": (0.0, 0.2),
        "lr_schedule": ("constant", "step", "cosine", "warmup_cosine"),
    }
    chosen = draw.sample(sorted(settings), draw.randint(1, 3))
    return Call("configure_training", {name: draw.choice(settings[name]) for name in chosen})


_ASIDES: tuple[Callable[[random.Random], Call], ...] = (
    _configure,
    _configure,
    lambda draw: Call("adjust_learning_rate", {"new_lr": draw.choice((0.001, 0.002, 0.004))}),
    lambda draw: Call("toggle_augmentation", {"enabled": draw.random() < 0.5, "strength": 0.5}),
    lambda draw: Call("save_checkpoint", {"name": draw.choice("ab")}),
    lambda draw: Call("save_checkpoint", {"name": draw.choice("ab")}),
    lambda draw: Call("restore_checkpoint", {"name": draw.choice("ab")}),
    lambda _: Call("list_checkpoints"),
    lambda _: STATUS,
    lambda draw: draw.choice(_REFUSED),
)

_REFUSED = (
    Call("run_epochs", {"num_epochs": 21}),
    Call("configure_training", {"dropout": 2}),
    Call("configure_training", {"drop_out": 0.2}),
    Call("restore_checkpoint", {"name": "never-saved"}),
)


class Victim(StrEnum):
    """What is killed."""

    SERVER = "the server"
    WORKER = "a worker"
    CONNECTION = "a connection"
    NODE = "a node"


@dataclass(frozen=True)
class Kill:
    """A kill -9; of a connection, its end without a word.

    Attributes:
        victim: Of what.
        at_write: Whether to wait for the next write to the journal: between it and the reply are a few milliseconds.
        delay_s: How long to wait then.
    """

    victim: Victim
    at_write: bool
    delay_s: float


@dataclass(frozen=True)
class Strike:
    """Some kills, one soon after the other: the later ones find a server that is just coming back.

    Attributes:
        epoch: How many epochs have been acknowledged when it comes, those of all clients taken together.
        kills: What it consists of.
    """

    epoch: int
    kills: tuple[Kill, ...]


def strikes(seed: int, kills: int, epochs: int, has_nodes: bool = False) -> list[Strike]:
    """When to kill what: `kills` processes, every fourth of them a server, and some connections besides.

    Args:
        seed: Fixes the draw.
        kills: How many processes.
        epochs: How many epochs the clients will run.
        has_nodes: Whether every twelfth kill is that of a node of a cluster, with all that runs there.
    """
    draw = random.Random(f"strikes {seed}")
    victims = [Victim.SERVER if number % 4 == 0 else Victim.WORKER for number in range(kills)]
    if has_nodes:
        victims[1::12] = [Victim.NODE] * len(victims[1::12])
    victims += [Victim.CONNECTION] * (kills // 5)
    draw.shuffle(victims)
    bunches: list[tuple[Kill, ...]] = []
    while victims:
        bunch, victims = victims[: (size := draw.randint(1, 4))], victims[size:]
        bunches.append(tuple(_kill(draw, victim) for victim in bunch))
    moments = draw.sample(range(1, int(epochs * LAST_MOMENT)), len(bunches))
    return [Strike(epoch, bunch) for epoch, bunch in zip(sorted(moments), bunches, strict=True)]


def _kill(draw: random.Random, victim: Victim) -> Kill:
    if victim is Victim.SERVER and draw.random() < 0.5:
        return Kill(victim, at_write=True, delay_s=draw.uniform(0.0, 0.01))
    return Kill(victim, at_write=False, delay_s=draw.uniform(0.0, 0.5))
