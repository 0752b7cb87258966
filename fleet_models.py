"""Wire values of the fleet. Needs no torch. A figure that is not finite is null, because JSON has no NaN."""

from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.models import EpisodeObservation, EpisodeState

__all__ = ["FleetObservation", "FleetState", "FleetStatus", "FleetTaskDescription"]


class FleetStatus(BaseModel):
    """Where a run on the fleet stands: part of every reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(ge=0, description="Steps of the current state")
    clock_s: float = Field(ge=0, description="Virtual time")
    reservation_s: float = Field(description="The nodes are reserved for so long")
    left_s: float = Field(ge=0, description="What is left of it")
    loss: float | None = Field(description="Mean training loss of the last step, in nats a character")
    grad_norm: float | None = Field(description="L2 norm of the reduced gradient of the last step")
    step_s: float | None = Field(description="Time of the last step")
    learning_rate: float | None = Field(description="Rate of the last step")
    restarts: int = Field(ge=0)
    is_stalled: bool = Field(description="The step under way has not ended for 10 s")
    nodes: list[int] = Field(description="The node of each rank, by rank")
    spares: list[int] = Field(description="Spare nodes")
    drained: list[int] = Field(description="Nodes that were drained and can be restored")
    quarantined: list[int] = Field(description="Shards that are left out")
    mirrored: list[int] = Field(description="Shards that are read from a mirror")
    newest_checkpoint: str
    settings: dict[str, float | bool] = Field(description="The settings of the next step")
    notices: list[str] = Field(description="The last lines of the cluster's monitoring")


class FleetTaskDescription(BaseModel):
    """What an episode's agent is asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    split: str = Field(description="The split of the task API")
    index: int = Field(description="Its position in the split")
    description: str
    difficulty: str = Field(description="The tier, 1 is the easiest; named for named tasks")
    group: str
    tools: list[str] = Field(description="The tools' names; list_tools gives their schemas")


class FleetObservation(EpisodeObservation):
    """The reply to a reset: the task, and where the run stands."""

    task: FleetTaskDescription
    status: FleetStatus


class FleetState(EpisodeState):
    """An episode's state, without anything that is held out."""

    status: FleetStatus | None = None
    state_hash: str | None = None
