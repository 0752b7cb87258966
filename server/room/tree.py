"""The branches of an episode: where weights were drawn, saved and brought back. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ml_trainer_env.server.store import CallRecord

__all__ = ["Branch", "draw_tree"]


@dataclass(slots=True)
class Branch:
    """Units that follow each other from one state on.

    Attributes:
        start: Number of units of the episode before it.
        end: Number of units of the episode at its end.
        parent: Index of the branch that it left. None if its weights are fresh.
        parent_at: Number of units of the episode where the parent's state was saved. None for fresh weights.
        label: What began it.
        saves: The checkpoints that were saved on it: the name, and the number of units of the episode.
    """

    start: int
    end: int
    parent: int | None = None
    parent_at: int | None = None
    label: str = "start"
    saves: list[tuple[str, int]] = field(default_factory=list)


def draw_tree(calls: Iterable[CallRecord]) -> list[dict[str, Any]]:
    """Return the branches of an episode by its calls, as JSON objects in the order in which they began.

    It reads the tools that save, restore or draw weights anew. Calls that were refused change nothing. A fleet's job
    saves checkpoints by itself, so a restart leaves the branch where it ends.
    """
    branches = [Branch(0, 0)]
    saved: dict[str, tuple[int, int]] = {}
    for call in calls:
        here = branches[-1]
        if call.reply is not None:
            name = call.arguments.get("name", call.arguments.get("checkpoint"))
            if call.tool == "save_checkpoint":
                here.saves.append((str(name), here.end))
                saved[str(name)] = len(branches) - 1, here.end
            elif call.tool in {"restore_checkpoint", "restart"}:
                parent, at = saved.get(str(name), (len(branches) - 1, here.end))
                branches.append(Branch(here.end, here.end, parent, at, f"restored {name}"))
            elif call.arguments.get("reinitialize") is True:
                branches.append(Branch(here.end, here.end, label="fresh weights"))
        branches[-1].end += len(call.units)
    return [asdict(branch) for branch in branches]
