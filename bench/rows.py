"""A row of the results: what one agent's play of one task came to. Pure, from what the server told.

The same function makes a row from a live play and from the journal. So everything in a row but `seconds` and `tokens`,
which only the program knows that played, can be made again from the journal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_trainer_env.bench.games import BenchGame
from ml_trainer_env.bench.plan import Cell

__all__ = ["LEAST_SCORES", "Play", "PlayedCall", "PlayedEpisode", "Row", "row_of"]

LEAST_SCORES: Mapping[str, float] = {"v3": -0.25}
"""The least score by rubric; 0 for others. Who gives up gets no more than who hands in the worst model."""


@dataclass(frozen=True, slots=True)
class PlayedCall:
    """A call of an agent and its outcome.

    Attributes:
        tool: Name of the tool.
        reply: The reply; None if the call was refused.
    """

    tool: str
    reply: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """An episode, without what it inherited from the one that it was forked from.

    Attributes:
        name: Its id.
        reset: The observation of its reset.
        spent: What had been spent when it began: in a fork, by its ancestors.
        calls: Its own calls, in order.
        ended_at: When its last call was answered, in seconds since any time. Used to tell which of two came first.
    """

    name: str
    reset: Mapping[str, Any]
    spent: float
    calls: Sequence[PlayedCall]
    ended_at: float

    @property
    def replies(self) -> list[Mapping[str, Any]]:
        """The replies of the calls that were not refused."""
        return [call.reply for call in self.calls if call.reply is not None]

    @property
    def is_done(self) -> bool:
        """Whether its model was submitted."""
        return any(reply.get("done") for reply in self.replies)

    def spent_by_itself(self, game: BenchGame) -> float:
        """Return what its own calls have spent."""
        told = (float(reply[game.spent]) for reply in reversed(self.replies) if game.spent in reply)
        return next(told, self.spent) - self.spent


@dataclass(frozen=True, slots=True)
class Play:
    """One agent's play of one task: one episode, or a tree of forks.

    Attributes:
        cell: Its place in the plan.
        episodes: The episodes in the order in which they began. The first is no fork.
        is_given_up: Whether the agent stopped before it had submitted a model.
    """

    cell: Cell
    episodes: Sequence[PlayedEpisode]
    is_given_up: bool = False

    @property
    def graded(self) -> PlayedEpisode:
        """The episode that counts: the first that was submitted, or else the first.

        A second submission does not count. Otherwise an agent could choose by the grade.
        """
        done = [episode for episode in self.episodes if episode.is_done]
        return min(done, key=lambda episode: episode.ended_at) if done else self.episodes[0]


@dataclass(frozen=True, slots=True)
class Row:
    """What one agent's play of one task came to.

    Attributes:
        agent: Name of the agent.
        task: Id of the task.
        seed: The seed of the plan; see `plan.Cell`.
        episode_id: The episode that was graded.
        episode_seed: Its seed.
        rubric: Its rubric.
        split: The split of its task.
        tier: The difficulty of its task.
        kinds: The kinds of its task; see `games`.
        score: The grade. None if the agent gave up.
        reward: Sum of all rewards.
        seen: The figure of the submitted model that the agent could see; see `games`. None if there is none.
        hidden: The same on hidden examples.
        spent: What all episodes have spent.
        budget: The budget.
        calls: Number of calls that the server answered, refused ones included.
        refused: Number of calls that it refused.
        episodes: Number of episodes, forks included.
        seconds: Wall time. None if it is not known. Not in the journal.
        tokens: Tokens of a language model; 0 for other agents. None if it is not known. Not in the journal.
    """

    agent: str
    task: str
    seed: str
    episode_id: str
    episode_seed: int
    rubric: str
    split: str
    tier: str
    kinds: tuple[str, ...]
    score: float | None
    reward: float
    seen: float | None
    hidden: float | None
    spent: float
    budget: float
    calls: int
    refused: int
    episodes: int
    seconds: float | None = None
    tokens: int | None = None

    @property
    def cell(self) -> Cell:
        """Its place in the plan."""
        return Cell(self.agent, self.task, self.seed)

    @property
    def counted(self) -> float:
        """The grade, or the least that its rubric gives if the agent gave up."""
        return LEAST_SCORES.get(self.rubric, 0.0) if self.score is None else self.score


def row_of(game: BenchGame, play: Play, *, seconds: float | None = None, tokens: int | None = None) -> Row:
    """Return the row of a play.

    Args:
        game: The game.
        play: The play.
        seconds: Wall time.
        tokens: Tokens of a language model.
    """
    graded = play.graded
    task, last = graded.reset["task"], _last(graded)
    replies = [reply for episode in play.episodes for reply in episode.replies]
    calls = [call for episode in play.episodes for call in episode.calls]
    return Row(
        agent=play.cell.agent,
        task=play.cell.task,
        seed=play.cell.seed,
        episode_id=graded.name,
        episode_seed=int(graded.reset["seed"]),
        rubric=str(graded.reset["rubric"]),
        split=str(task["split"]),
        tier=str(task["difficulty"]),
        kinds=tuple(game.kinds(graded.reset, last)),
        score=last.get("score") if graded.is_done and not play.is_given_up else None,
        reward=round(sum(float(reply.get("reward") or 0.0) for reply in replies), 6),
        seen=game.seen(graded.replies),
        hidden=last.get(game.hidden),
        spent=round(sum(episode.spent_by_itself(game) for episode in play.episodes), 3),
        budget=float(graded.reset["status"][game.budget]),
        calls=len(calls),
        refused=sum(call.reply is None for call in calls),
        episodes=len(play.episodes),
        seconds=None if seconds is None else round(seconds, 3),
        tokens=tokens,
    )


def _last(episode: PlayedEpisode) -> Mapping[str, Any]:
    """Return the last reply, or the status of the reset if there is none."""
    status: Mapping[str, Any] = episode.reset["status"]
    return episode.replies[-1] if episode.replies else status
