"""Request bodies of participants."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["NewAgent", "RuntimeChoice"]

_Id = Annotated[int, Field(ge=1, le=2**31 - 1)]


class NewAgent(BaseModel):
    """A new agent."""

    model_config = ConfigDict(extra="ignore")

    agent_name: str = Field(min_length=1, max_length=64, pattern=r"^\w[\w .,+@=()\[\]&#!'-]*$")
    copy_from_agent_id: _Id | None = None


class RuntimeChoice(BaseModel):
    """The runtime of an agent."""

    docker_image_agent_runtime_id: _Id
