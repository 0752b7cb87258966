"""The small data sets in this package. The MNIST and Fashion-MNIST tasks need no network.

`bundled/mnist.npz` holds the first 10,000 training images of MNIST. `bundled/fashion_mnist.npz` holds one draw of
Fashion-MNIST, `BUNDLED_FASHION`, in its final order. Both have the keys `images` and `labels` (uint8).
`scripts/build_bundled_data.py` builds them, with `checksums.json` and the licences. `bundled/glyphs.npz` holds the
shapes of letters and digits; see `fonts.py`.
"""

import hashlib
import io
import json
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.draw import draw_from_pool, fits_pool, split_into_parts
from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.npz import file_name
from ml_trainer_env.server.datasets.values import (
    DatasetName,
    ImageRequest,
    Images,
    Labels,
    Source,
    TaskExamples,
)

__all__ = ["BUNDLED_FASHION", "bundled_mnist", "has_bundled", "load_bundled", "read_bundled"]

BUNDLED_FASHION = ImageRequest(
    DatasetName.FASHION_MNIST, train_size=6500, validation_size=1500, test_size=2000, seed=123
)
"""The only request that the bundled Fashion-MNIST can serve."""

_FOLDER = files("ml_trainer_env.server.datasets") / "bundled"


def has_bundled(request: ImageRequest) -> bool:
    """Whether the bundled sets can serve a request."""
    return fits_pool(request) or request == BUNDLED_FASHION


def load_bundled(request: ImageRequest) -> TaskExamples:
    """Return the images of a request for which `has_bundled` is true.

    Raises:
        DatasetError: The bundled file is missing or damaged.
    """
    images, labels = _read(file_name(request.dataset))
    if request.dataset is DatasetName.MNIST:
        return draw_from_pool(request, images, labels, Source.BUNDLED)
    return split_into_parts(request, images, labels, Source.BUNDLED)


def bundled_mnist() -> tuple[Images, Labels]:
    """Return the first 10,000 training images of MNIST and their labels, in the order of the data set.

    Raises:
        DatasetError: The bundled file is missing or damaged.
    """
    return _read(file_name(DatasetName.MNIST))


def _read(name: str) -> tuple[Images, Labels]:
    arrays = read_bundled(name)
    return arrays["images"], arrays["labels"].astype(np.int64)


def read_bundled(name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a bundled file.

    Raises:
        DatasetError: The file is missing, or does not have its checksum.
    """
    try:
        content = (_FOLDER / name).read_bytes()
        expected = json.loads((_FOLDER / "checksums.json").read_text())[name]
    except (OSError, KeyError, ValueError) as error:
        raise _broken(name, f"is missing or has no checksum ({error})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise _broken(name, "is not the file whose checksum stands beside it")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def _broken(name: str, reason: str) -> DatasetError:
    return DatasetError(f"The bundled {name} {reason}. Reinstall the package, or run scripts/build_bundled_data.py.")
