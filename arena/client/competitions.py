"""Methods that read competitions, tags and leaderboards."""

from collections.abc import Sequence
from typing import Any

from ml_trainer_env.arena.client.base import ClientBase, Json
from ml_trainer_env.arena.client.errors import SubmissionError
from ml_trainer_env.arena.client.tables import as_table

__all__ = ["BOARD_COLUMNS", "CompetitionMethods"]

BOARD_COLUMNS = (
    "Rank",
    "Username",
    "AgentName",
    "agentAttachId",
    "MeanReward",
    "MeanReward2",
    "RewardCi95",
    "NEpisodes",
    "NumberOfRuns",
    "EloScore",
    "Metric",
    "Metric2",
    "SubscriptionDate",
    "LastRun",
    "TeamName",
    "MaxActionTime",
    "MaxRamBytes",
    "IsBenchmark",
    "DiffersFromAbove",
)
"""Columns of a leaderboard."""


class CompetitionMethods(ClientBase):
    """Reads public data. No method needs a token."""

    def competitions(
        self,
        *,
        q: str | None = None,
        tags: Sequence[str] | str | None = None,
        status: str | None = None,
        page: int | None = None,
        per_page: int | None = None,
    ) -> Any:
        """List all public competitions, or one page of them.

        Args:
            q: Text that the name or the description contains.
            tags: Names of tags. A competition must have all of them.
            status: `started` or `draft`.
            page: Page number, from 1. Without `page` and `per_page`, all pages are read.
            per_page: Competitions a page. The default is 24.
        """
        wanted = {"q": q, "status": status, "tags": tags if isinstance(tags, str) else ",".join(tags or ())}
        params: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        if page is not None or per_page is not None:
            return as_table(self._competitions_page(params, page or 1, per_page or 24)["items"])
        items: list[Any] = []
        number, more = 1, True
        while more:
            found = self._competitions_page(params, number, 100)
            items += found["items"]
            number, more = number + 1, found["metadata"]["has_next"]
        return as_table(items)

    def competition(self, competition_id: int) -> Json:
        """Get a public competition with its settings and its start state."""
        return self._call_json("competition", "GET", f"/competitions/{competition_id}", token=False)

    def list_tags(self) -> Any:
        """List all tags."""
        return as_table(self._connection.call("list_tags", "GET", "/competition_tags/tags", token=False, known=False))

    def leaderboard(self, competition_id: int | None = None, *, metric: str | None = None) -> Any:
        """Get the leaderboard of a competition, best agent first. Before anything is graded it has columns and no rows.

        Args:
            competition_id: The competition. By default the one of this client's last submission.
            metric: Key of the metric to rank by. By default the one by which the competition ranks.

        Raises:
            SubmissionError: No competition is given, and this client has submitted nothing.
        """
        cid = competition_id or self._last_competition
        if cid is None:
            raise SubmissionError("name a competition: nothing was submitted yet")
        path = f"/leaderboard/competition/{cid}"
        wanted: dict[str, Any] = {"params": {"metric": metric}} if metric else {}
        return as_table(self._connection.call("leaderboard", "GET", path, token=False, **wanted), BOARD_COLUMNS)

    def _competitions_page(self, params: dict[str, Any], page: int, per_page: int) -> Json:
        paged = {**params, "page": page, "per_page": per_page}
        return self._call_json("competitions", "GET", "/competitions/", token=False, known=False, params=paged)
