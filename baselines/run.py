"""Plays a series of episodes. Shows progress, records events and returns results."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ml_trainer_env.baselines.agent import BadDecision, Call
from ml_trainer_env.baselines.episode import EpisodeResult, Result, summarise
from ml_trainer_env.baselines.forks import Entrant, ForkingAgent, Sessions, WatchedSessions
from ml_trainer_env.baselines.play import Turn, play
from ml_trainer_env.baselines.progress import Progress
from ml_trainer_env.baselines.run_log import Record
from ml_trainer_env.baselines.session import Brief, EpisodeBrief, GameSession

__all__ = ["OpenSession", "OpenSessions", "Plan", "Summary", "TuningSummary", "play_all"]

OpenSession = Callable[[str, int | None], GameSession[EpisodeBrief]]
"""Begins an episode of a task, with a seed or the task's own."""

OpenSessions = Callable[[str, int | None], AbstractContextManager[Sessions[Any]]]
"""Opens what begins and forks episodes of a task, with a seed or the task's own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The episodes of a run.

    Attributes:
        tasks: Ids of the tasks, in order.
        seed: Seed of the first episode of each task; None for the task's default. It increases by 1 with each episode.
        episodes: Episodes for each task.
    """

    tasks: Sequence[str]
    seed: int | None = None
    episodes: int = 1


class Summary(Protocol):
    """How the episodes of a game are summarised."""

    def fields_of(self, brief: Any) -> dict[str, object]:
        """Return what the log says of an episode that begins, besides its id, task, seed and rubric."""

    def summarise(self, agent: str, brief: Any, turns: Sequence[Turn], *, seconds: float, tokens: int) -> Any:
        """Create the result of an episode."""


class TuningSummary:
    """How the episodes of the tuning game are summarised."""

    def fields_of(self, brief: Brief) -> dict[str, object]:
        """Return the data and the budget."""
        return {
            "dataset": brief.dataset.name,
            "data_source": brief.dataset.source,
            "budget_epochs": brief.budget_epochs,
        }

    def summarise(
        self, agent: str, brief: Brief, turns: Sequence[Turn], *, seconds: float, tokens: int
    ) -> EpisodeResult:
        """Create the result of an episode."""
        return summarise(agent, brief, turns, seconds=seconds, tokens=tokens)


_TUNING = TuningSummary()


def play_all(
    plan: Plan,
    agent: Entrant,
    open_session: OpenSession,
    record: Record,
    progress: Progress,
    tokens_spent: Callable[[], int] = lambda: 0,
    summary: Summary = _TUNING,
    open_sessions: OpenSessions | None = None,
) -> Iterator[Result]:
    """Play a plan. Yields each result when its episode has ended.

    Args:
        plan: The episodes to play.
        agent: The agent.
        open_session: Begins an episode.
        record: Records every call, reply and result.
        progress: Shows the progress.
        tokens_spent: Returns the number of tokens used by a language model so far.
        summary: How an episode is summarised.
        open_sessions: Opens the sessions of an agent that forks. Its turns are those of all branches, and its result is
            that of the branch that it submitted.

    Raises:
        ConnectionError: The connection to the environment is lost.
        CallRefusedError: The environment refused an agent that forks a call that it needs.
    """
    watch = _turn_recorder(record, progress)

    def begin(brief: Any) -> None:
        progress.begin(brief)
        record("episode", _episode_fields(brief) | summary.fields_of(brief))

    def play_episode(task: str, seed: int | None) -> tuple[Any, Sequence[Turn]]:
        if not isinstance(agent, ForkingAgent):
            session = open_session(task, seed)
            begin(session.brief)
            return session.brief, play(agent, session, watch=watch)
        if open_sessions is None:
            raise ValueError(f"{agent.name} forks, and nothing was given that forks")
        turns: list[Turn] = []

        def watch_and_keep(turn: Turn) -> None:
            turns.append(turn)
            watch(turn)

        with open_sessions(task, seed) as sessions:
            return agent.play(WatchedSessions(sessions, watch_and_keep, begin)).brief, turns

    for task in plan.tasks:
        seed = plan.seed
        for _ in range(plan.episodes):
            before, started = tokens_spent(), time.perf_counter()
            brief, turns = play_episode(task, seed)
            seed = brief.seed + 1
            result = summary.summarise(
                agent.name,
                brief,
                turns,
                seconds=time.perf_counter() - started,
                tokens=tokens_spent() - before,
            )
            progress.end(result)
            record("result", _result_fields(result))
            yield result


def _turn_recorder(record: Record, progress: Progress) -> Callable[[Turn], None]:
    def watch(turn: Turn) -> None:
        record("call", _call_fields(turn))
        record("reply", _reply_fields(turn))
        progress.turn(turn)

    return watch


def _call_fields(turn: Turn) -> dict[str, object]:
    decision = turn.decision
    fields: dict[str, object] = {"number": turn.number, "author": str(turn.author)}
    match decision:
        case Call():
            fields |= {
                "tool": decision.name,
                "arguments": decision.arguments,
                "reason": decision.reason,
            }
        case BadDecision():
            fields |= {"tool": None, "attempted": decision.attempted}
    return fields | {"seconds": round(turn.decide_s, 3)}


def _reply_fields(turn: Turn) -> dict[str, object]:
    reply = turn.outcome.reply
    fields: dict[str, object] = {"number": turn.number, "seconds": round(turn.reply_s, 3)}
    if reply is None:
        return fields | {"refusal": turn.outcome.refusal}
    return fields | {"reward": reply.get("reward"), "done": reply.get("done"), "reply": reply}


def _episode_fields(brief: EpisodeBrief) -> dict[str, object]:
    return {
        "episode_id": brief.episode_id,
        "task": brief.task_id,
        "seed": brief.seed,
        "rubric": brief.rubric,
    }


def _result_fields(result: Result) -> dict[str, object]:
    kept = ("task_id", "agent", "seed", "score", "played_to_end", "reward", "tokens", "seconds", "details")
    return {name: getattr(result, name) for name in kept}
