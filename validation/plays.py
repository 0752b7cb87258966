"""Episodes that are played from lists of calls, and how two of them are compared."""

import re
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml_trainer_env.validation.declarations import CallList
from ml_trainer_env.validation.wire import Answer, Session, WireError

__all__ = ["Play", "begin", "differences", "play", "play_in", "play_two"]

CLOCK = re.compile(r"(^|_)(time|timestamp|created|updated|seconds|duration|elapsed|latency|wall)(_|$)|_(s|ms|ns)$")
"""Names of fields that tell the time. They may differ between two plays of one episode."""

IDENTITY = frozenset({"episode_id", "session_id", "run_id"})
"""Names of fields that name the episode. They must differ between two episodes."""

MISSING = "(missing)"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Play:
    """An episode as it was answered.

    Attributes:
        reset: The answer to the reset.
        steps: The answers to the calls, up to the end of the episode.
        states: The state after the reset and after each call.
        seconds: Wall time, in seconds.
    """

    reset: Answer
    steps: tuple[Answer, ...]
    states: tuple[Mapping[str, Any], ...]
    seconds: float

    @property
    def rewards(self) -> list[float | None]:
        """The reward of each call."""
        return [step.reward for step in self.steps]

    @property
    def verdict(self) -> float:
        """The reward of the last call: what the verifier paid when the episode ended. 0 without a reward."""
        return (self.steps[-1].reward if self.steps else self.reset.reward) or 0.0

    @property
    def done(self) -> bool:
        """Whether the episode ended."""
        return bool(self.steps) and self.steps[-1].done

    @property
    def refused(self) -> int:
        """Number of calls that were refused or failed."""
        return sum(step.error is not None for step in self.steps)


def play(base_url: str, calls: CallList, *, headers: Mapping[str, str] | None = None, limit_s: float = 3600.0) -> Play:
    """Play a list of calls in a session of its own.

    Args:
        base_url: The environment's URL.
        calls: What is played. The episode gets a new `episode_id`.
        headers: Headers of the handshake.
        limit_s: Seconds to wait for each answer.

    Raises:
        WireError: The environment does not answer, or refuses the reset.
    """
    with Session(base_url, headers, limit_s) as session:
        return play_in(session, calls)


def play_in(session: Session, calls: CallList) -> Play:
    """Play a list of calls in a session that is open. Stops at the end of the episode."""
    started = time.monotonic()
    reset = begin(session, calls.reset)
    states = [session.state()]
    steps: list[Answer] = []
    for action in calls.actions:
        if reset.done or (steps and steps[-1].done):
            break
        steps.append(session.step(action))
        states.append(session.state())
    return Play(reset, tuple(steps), tuple(states), time.monotonic() - started)


def play_two(session: Session, calls: CallList, other: Session, other_calls: CallList) -> Play:
    """Play two lists of calls at a time, call by call in turns. Returns the first play."""
    started = time.monotonic()
    reset = begin(session, calls.reset)
    other_done = begin(other, other_calls.reset).done
    states = [session.state()]
    steps: list[Answer] = []
    for index, action in enumerate(calls.actions):
        if index < len(other_calls.actions) and not other_done:
            other_done = other.step(other_calls.actions[index]).done
        if not (steps and steps[-1].done):
            steps.append(session.step(action))
            states.append(session.state())
    return Play(reset, tuple(steps), tuple(states), time.monotonic() - started)


def begin(session: Session, options: Mapping[str, Any]) -> Answer:
    """Begin an episode with a new `episode_id`.

    Raises:
        WireError: The environment refuses the reset.
    """
    answer = session.reset({**options, "episode_id": f"validation-{uuid.uuid4().hex}"})
    if answer.error is not None and not answer.observation:
        raise WireError(f"the reset {dict(options)} is refused: {answer.error}")
    return answer


def differences(one: Play, other: Play, ignore: Collection[str] = ()) -> list[str]:
    """Compare two plays of one list of calls. Returns the differences in words, at most a few; empty if there are none.

    Rewards, ends and refusals must be equal to the last bit. So must observations and states, except for fields that
    name the episode or tell the time.

    Args:
        one: A play.
        other: The play it is compared with.
        ignore: Names of further fields that are not compared.
    """
    skipped = IDENTITY | set(ignore)
    found = []
    if len(one.steps) != len(other.steps):
        found.append(f"{len(one.steps)} calls were answered, then {len(other.steps)}")
    pairs = [("reset", one.reset, other.reset)]
    pairs += [(f"call {n}", a, b) for n, (a, b) in enumerate(zip(one.steps, other.steps, strict=False), 1)]
    for where, a, b in pairs:
        if a.reward != b.reward:
            found.append(f"{where}: the reward is {a.reward}, then {b.reward}")
        if a.done != b.done:
            found.append(f"{where}: done is {a.done}, then {b.done}")
        found.extend(f"{where}: {text}" for text in _unequal(a.observation, b.observation, "observation", skipped))
    for n, (a_state, b_state) in enumerate(zip(one.states, other.states, strict=False)):
        found.extend(f"after call {n}: {text}" for text in _unequal(a_state, b_state, "state", skipped))
    return found[:SHOWN]


def _unequal(a: object, b: object, path: str, skipped: Collection[str]) -> Iterator[str]:
    """Where two values of JSON differ, in words."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}, key=str):
            if key not in skipped and not CLOCK.search(str(key)):
                yield from _unequal(a.get(key, MISSING), b.get(key, MISSING), f"{path}.{key}", skipped)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _unequal(left, right, f"{path}[{index}]", skipped)
    elif a != b or type(a) is not type(b):
        yield f"{path} is {str(a)[:60]}, then {str(b)[:60]}"
