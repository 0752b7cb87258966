"""What several endpoints for teachers take as the body of a request."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Body", "Id", "Number", "Order", "Position", "Text", "Threshold", "Title"]

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Title = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=50_000)]
Threshold = Annotated[float, Field(allow_inf_nan=False)]
Position = Annotated[int, Field(ge=0, le=10_000)]


class Body(BaseModel):
    """A body. Keys that are not known are left out."""

    model_config = ConfigDict(extra="ignore")


class Order(Body):
    """Ids in a new order."""

    ordered_ids: list[Number] = Field(max_length=1000)
