"""The scripts of the twelve recorded episodes, and their player.

A script is a list of steps. Every script is played through the public Python client. The episodes with a lower number
are played first, because forks need them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ml_trainer_env import MLTrainerEnv, ToolCallError

__all__ = ["SCRIPTS", "Call", "Resume", "Script", "play", "resume"]


@dataclass(frozen=True)
class Call:
    """A tool call: the name of the tool and its arguments."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Resume:
    """The client closes its connection and resumes the episode on a new one."""


Step = Call | Resume


@dataclass(frozen=True)
class Script:
    """One episode: the options of its reset, which name the episode, and its steps."""

    reset: dict[str, Any]
    steps: Sequence[Step]

    @property
    def name(self) -> str:
        """The id of the episode."""
        return str(self.reset["episode_id"])


def play(script: Script, url: str) -> dict[str, Any]:
    """Play a script on a server.

    Args:
        script: The episode.
        url: The address of the server.

    Returns:
        `options` and `reset`, the options of the reset and its observation; `steps`, one dict for each step: what the
        client sent, and what the client received; `state`, the state after the last step; `resumed`, the observation
        of a resume after the last step. JSON values only.
    """
    env = MLTrainerEnv(base_url=url)
    env.__enter__()
    try:
        begun = env.reset(**script.reset)
        played: dict[str, Any] = {"options": script.reset, "reset": _observed(begun), "steps": []}
        for step in script.steps:
            if isinstance(step, Resume):
                env.__exit__(None, None, None)
                env = MLTrainerEnv(base_url=url)
                env.__enter__()
                played["steps"].append({"resume": script.name, "observation": _observed(env.resume(script.name))})
                continue
            played["steps"].append(_called(env, step))
        played["state"] = env.state().model_dump(mode="json")
    finally:
        env.__exit__(None, None, None)
    return {**played, "resumed": resume(script.name, url)}


def resume(name: str, url: str) -> dict[str, Any]:
    """Resume an episode on a connection of its own. Gives what the client receives."""
    with MLTrainerEnv(base_url=url) as env:
        return _observed(env.resume(name))


def _called(env: MLTrainerEnv, call: Call) -> dict[str, Any]:
    sent = {"tool": call.tool, "arguments": call.arguments}
    try:
        reply = env.call_tool(call.tool, **call.arguments)
    except ToolCallError as error:
        return {**sent, "error": str(error), "done": env.done, "step_count": env.step_count}
    return {**sent, "reply": reply, "reward": env.reward, "done": env.done, "step_count": env.step_count}


def _observed(result: Any) -> dict[str, Any]:
    observation = result.observation.model_dump(mode="json")
    return {"observation": observation, "reward": result.reward, "done": result.done, "metadata": result.metadata}


def _configure(**settings: Any) -> Call:
    return Call("configure_training", settings)


def _run(epochs: Any) -> Call:
    return Call("run_epochs", {"num_epochs": epochs})


def _rate(rate: Any) -> Call:
    return Call("adjust_learning_rate", {"new_lr": rate})


def _toggle(**settings: Any) -> Call:
    return Call("toggle_augmentation", settings)


def _save(name: Any) -> Call:
    return Call("save_checkpoint", {"name": name})


def _restore(name: Any) -> Call:
    return Call("restore_checkpoint", {"name": name})


_STATUS = Call("get_training_status", {})
_LIST = Call("list_checkpoints", {})
_SUBMIT = Call("submit_model", {})

_EASY = Script(
    {"episode_id": "recorded-01-easy-v1", "task_id": "easy_mnist", "rubric": "v1"},
    (
        *(_STATUS, _LIST, _SUBMIT, _save("early"), _restore("none")),  # three of these are refused
        *(_run(0), _run(21), _run("two"), _run(1.5), _run(True), _rate(0), _rate(11), _toggle(enabled="perhaps")),
        *(_configure(optimizer="lion"), _configure(batch_size=48), _configure(no_such_setting=1), Call("no_tool", {})),
        *(_configure(learning_rate="nan"), _configure(dropout=0.6), _configure(warmup_epochs=21), _save("")),
        _configure(optimizer="adam", learning_rate="0.002", batch_size="64", weight_decay="1e-4"),
        *(_run("3"), _STATUS, _rate("0.001"), _run(2), _save("best"), _LIST),
        *(_toggle(enabled="true", strength="0.5"), _run(2), _toggle(enabled=False), _save("second.one"), _LIST),
        *(_restore("unknown"), _restore("best"), _STATUS, _run(1), _save("best"), _LIST, _SUBMIT),
        *(_STATUS, _run(1), _SUBMIT),  # after the end
    ),
)

_EASY_COSINE = Script(
    {"episode_id": "recorded-02-easy-v2", "task_id": "easy_mnist", "rubric": "v2", "seed": 7},
    (
        _configure(
            optimizer="adamw",
            learning_rate=0.003,
            lr_schedule="cosine",
            weight_decay=0.05,
            dropout=0.2,
            augmentation=True,
            augmentation_strength=0.7,
        ),
        *(_run(5), _save("five"), _run(4), _configure(optimizer="sgd", learning_rate=0.05), _run(2)),
        *(_configure(lr_schedule="step", batch_size=256), _run(6), _STATUS, _restore("five"), _STATUS, _SUBMIT),
    ),
)

_EASY_DIVERGED = Script(
    {"episode_id": "recorded-03-easy-v2-call-limit", "task_id": "easy_mnist", "rubric": "v2", "seed": 11},
    (
        *(_configure(optimizer="sgd", learning_rate=0.05, batch_size=32), _run(1), _save("sound"), _rate(10), _run(3)),
        *(_STATUS, _run(1), _save("diverged"), _configure(reinitialize="true", learning_rate=0.01), _run(2), _STATUS),
        *(_rate(10), _run(2), _restore("sound"), _rate(0.02), _run(1)),
        *(_rate(round(0.01 + 0.0001 * number, 6)) for number in range(51)),  # the 60th change submits
    ),
)

_FASHION_OPEN = Script(
    {"episode_id": "recorded-04-fashion-v1-open", "task_id": "medium_fashion", "rubric": "v1"},
    (
        _configure(optimizer="adam", learning_rate=0.002, lr_schedule="warmup_cosine", warmup_epochs=2, dropout=0.1),
        *(_run(2), _save("two"), _toggle(enabled=True, strength=0.8), _run(1), _LIST),
    ),
)

_FASHION_FORK_AT_END = Script(
    {"episode_id": "recorded-05-fashion-v1-fork-at-end", "fork_from": "recorded-04-fashion-v1-open"},
    (*(_STATUS, _LIST, _run(1), Resume(), _STATUS, _run(1), Resume(), _restore("two"), _SUBMIT, Resume(), _STATUS),),
)

_FASHION = Script(
    {"episode_id": "recorded-06-fashion-v2", "task_id": "medium_fashion", "rubric": "v2", "seed": 5},
    (
        _configure(optimizer="sgd", learning_rate=0.05, batch_size=128, weight_decay=0.0005, dropout=0.3),
        *(_run(2), _configure(optimizer="adamw", learning_rate=0.001), _run(1), _SUBMIT),
    ),
)

_CIFAR = Script(
    {"episode_id": "recorded-07-cifar-v1", "task_id": "hard_cifar", "rubric": "v1"},
    (_configure(batch_size=128, learning_rate=0.002), _run(2), _save("two"), _run(1), _restore("two"), _SUBMIT),
)

_CIFAR_AUGMENTED = Script(
    {"episode_id": "recorded-08-cifar-v2", "task_id": "hard_cifar", "rubric": "v2", "seed": 9},
    (
        _configure(optimizer="sgd", learning_rate=0.05, augmentation=True, dropout=0.1, lr_schedule="cosine"),
        *(_run(1), _configure(reinitialize=True, optimizer="adam", learning_rate=0.002, batch_size=128), _SUBMIT),
        *(_toggle(enabled=False), _run(2), _run(1), _STATUS, _SUBMIT),
    ),
)

_PERMUTED = Script(
    {"episode_id": "recorded-09-permuted-v1-budget-spent", "task_id": "permuted_mnist", "rubric": "v1"},
    (
        _configure(optimizer="adamw", learning_rate=0.004, batch_size=256, lr_schedule="cosine"),
        *(_run(20), _STATUS, _run(20), _run(1), _rate(0.001), _STATUS, _LIST, _STATUS, _STATUS),
    ),
)

_PERMUTED_NOISY = Script(
    {"episode_id": "recorded-10-permuted-v2", "task_id": "permuted_mnist", "rubric": "v2", "seed": 3},
    (
        _configure(augmentation=True, augmentation_strength=0.4, dropout=0.25, weight_decay=0.01, batch_size=128),
        *(_run(2), _save("two"), _run(2), _restore("two"), _toggle(enabled=False), _configure(lr_schedule="step")),
        *(_run(11), _STATUS, _SUBMIT),
    ),
)

_EASY_FORK_AT_CHECKPOINT = Script(
    {"episode_id": "recorded-11-easy-v1-fork-at-checkpoint", "fork_from": "recorded-01-easy-v1@second.one"},
    (*(_STATUS, _LIST, _run(2), _restore("best"), _run(1), _SUBMIT),),
)

_EASY_FORK_AT_EPOCH = Script(
    {"episode_id": "recorded-12-easy-v2-fork-at-epoch", "fork_from": "recorded-02-easy-v2@7"},
    (*(_STATUS, _run(2), Resume(), _run(1), _restore("five"), _run(1), _SUBMIT),),
)

SCRIPTS = (
    _EASY,
    _EASY_COSINE,
    _EASY_DIVERGED,
    _FASHION_OPEN,
    _FASHION_FORK_AT_END,
    _FASHION,
    _CIFAR,
    _CIFAR_AUGMENTED,
    _PERMUTED,
    _PERMUTED_NOISY,
    _EASY_FORK_AT_CHECKPOINT,
    _EASY_FORK_AT_EPOCH,
)
"""All scripts, in the order in which they are played."""
