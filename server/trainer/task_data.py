"""The data of a job: a task's images, and the permutation that an episode may apply to them.

Needs no torch. The parts that episodes share are kept apart, so that they are sent to a worker once.
"""

from dataclasses import dataclass, field

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.trainer.images import ImageArrays

__all__ = ["TaskData"]


@dataclass(frozen=True, slots=True, eq=False)
class TaskData:
    """Images as they are trained on.

    Attributes:
        images: The task's images.
        permutation: Applied to all images alike; None leaves them as they are.
        key: Names the content: two values with the same key are trained on alike.
    """

    images: ImageArrays
    permutation: Permutation | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        permuted = "" if self.permutation is None else f":{self.permutation.key}"
        object.__setattr__(self, "key", self.images.key + permuted)

    @property
    def nbytes(self) -> int:
        """Size of the images, in bytes."""
        return self.images.nbytes

    @property
    def parts(self) -> tuple[ImageArrays, ...]:
        """What episodes with permutations of their own share."""
        return (self.images,)
