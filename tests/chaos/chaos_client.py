"""A client that plays an episode to its end, whatever becomes of the server meanwhile.

It is what an agent's program would be: it makes a call, and when the connection breaks it connects anew, goes on with
the episode, and finds out whether the call was written down before its reply was lost.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos_script import STATUS, Call, script

from ml_trainer_env import MLTrainerEnv, ToolCallError

PATIENCE_S = 240.0
"""How long it waits for the answer to a call, restarts of the server included."""

PAUSE_S = 0.05
"""Between two attempts to connect."""

RUBRIC = "v2"
"""Its total does not depend on how epochs are cut into calls."""

FAILED = "training failed"
"""What the error of a call says that stopped half-way; its epochs until then are spent."""


@dataclass(frozen=True)
class Answer:
    """The answer to a call.

    Attributes:
        call: The call.
        reply: What came back; None for a call that was refused or failed.
        error: What the client was told then.
        found: Whether it was found in the journal, by way of `last_call`, after the reply had been lost.
    """

    call: Call
    reply: dict[str, Any] | None
    error: str | None
    found: bool = False


@dataclass(frozen=True)
class Resume:
    """A return to an episode: epochs that had been acknowledged, and epochs that the server then knew of."""

    acknowledged: int
    shown: int


@dataclass
class Diary:
    """What a client knows of its episode.

    Attributes:
        name: The episode's.
        seed: The episode's.
        calls: What it is going to do.
        answers: To the calls so far: those of the script, and those that make up for one that failed.
        resumes: When it had to come back.
        epochs: Epochs that were acknowledged.
        is_waiting: Whether a call is under way.
    """

    name: str
    seed: int
    calls: list[Call]
    answers: list[Answer] = field(default_factory=list)
    resumes: list[Resume] = field(default_factory=list)
    epochs: int = 0
    is_waiting: bool = False

    @classmethod
    def blank(cls, name: str, seed: int) -> "Diary":
        """The diary of an episode that has not begun."""
        return cls(name, seed, script(f"{name} {seed}"))

    @property
    def replies(self) -> list[dict[str, Any]]:
        """To the calls that were accepted."""
        return [answer.reply for answer in self.answers if answer.reply is not None]


class Client:
    """Plays one episode.

    Args:
        urls: Where servers are when they are there. Each time it connects, it takes any of them.
        diary: Of the episode; written as it goes on.
    """

    def __init__(self, urls: Sequence[str], diary: Diary) -> None:
        self.diary = diary
        self._urls = urls
        self._draw = random.Random(diary.name)
        self._env: MLTrainerEnv | None = None
        self._has_begun = False

    async def play(self, calls: list[Call]) -> None:
        """Make some calls, and make sure of each."""
        for call in calls:
            await self._carry_out(call)

    def hang_up(self) -> None:
        """End the connection, if there is one, as if this program had crashed."""
        if self._env is not None and self._env._ws is not None:
            self._env._ws.transport.abort()

    async def leave(self) -> None:
        """Close the connection, if there still is one."""
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(ConnectionError):
                await env.close()

    async def _carry_out(self, call: Call) -> None:
        """Make a call. If it failed half-way, ask for the rest of the epochs."""
        goal = self.diary.epochs + call.arguments.get("num_epochs", 0)
        answer = await self._answer(call)
        while answer.error is not None and FAILED in answer.error:
            await self._answer(STATUS)
            if (left := goal - self.diary.epochs) == 0:
                return
            answer = await self._answer(Call("run_epochs", {"num_epochs": left}))

    async def _answer(self, call: Call) -> Answer:
        """Make a call, again if need be, until its answer is known."""
        self.diary.is_waiting = True
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await self._come_back(call) or await self._ask(call)
                    break
                except ConnectionError:
                    await self.leave()
                    await asyncio.sleep(PAUSE_S)
        self.diary.is_waiting = False
        self.diary.answers.append(answer)
        if answer.reply is not None:
            self.diary.epochs = answer.reply["current_epoch"]
        return answer

    async def _ask(self, call: Call) -> Answer:
        assert self._env is not None
        try:
            answer = Answer(call, await self._env.call_tool(call.tool, **call.arguments), None)
        except ToolCallError as error:
            answer = Answer(call, None, str(error))
        if self._env.step_count != len(self.diary.answers) + 1:
            # OpenEnv's client connects anew by itself when it finds its socket closed: to a session without an episode.
            raise ConnectionError("the call went to another session")
        return answer

    async def _come_back(self, call: Call) -> Answer | None:
        """Connect if need be. Returns the answer to `call` if that was written down before its reply was lost."""
        if self._env is not None:
            return None
        self._env = env = MLTrainerEnv(base_url=self._draw.choice(self._urls))
        if not self._has_begun:
            await env.reset(task_id="easy_mnist", episode_id=self.diary.name, seed=self.diary.seed, rubric=RUBRIC)
            self._has_begun = True
            return None
        resumed = (await env.reset(episode_id=self.diary.name, resume=True)).observation
        written = (await env.state()).step_count
        self.diary.resumes.append(Resume(self.diary.epochs, resumed.status.current_epoch))
        answered = len(self.diary.answers)
        if written == answered:
            return None
        last = resumed.last_call
        assert written == answered + 1, f"{written} calls are written down, {answered} were answered and one was made"
        assert (last["tool_name"], last["arguments"]) == (call.tool, call.arguments)
        return Answer(call, last["reply"], last["error"], found=True)
