"""The look-up: tries the sources in their order, and says in the log whenever it has to go past one that failed.

1. the file in the data directory (a damaged one is an error: it was put there to be used);
2. the bundled sets, for a request that asks for less instead too;
3. a download into the data directory, if the settings allow it;
4. for CIFAR-10 alone, the procedural stand-in.
"""

import functools
import logging
import threading
from pathlib import Path

from ml_trainer_env.server.datasets.bundled import has_bundled, load_bundled
from ml_trainer_env.server.datasets.download import download
from ml_trainer_env.server.datasets.draw import draw_from_set, split_into_parts
from ml_trainer_env.server.datasets.errors import DatasetError, DownloadError
from ml_trainer_env.server.datasets.npz import file_name, read_image_set
from ml_trainer_env.server.datasets.synthetic import draw_stand_in
from ml_trainer_env.server.datasets.values import (
    DatasetName,
    DataSettings,
    ImageRequest,
    Source,
    TaskExamples,
)

__all__ = ["load_images"]

logger = logging.getLogger(__name__)

_KEPT_REQUESTS = 8
"""So many tasks' images stay in memory; the largest takes 55 MB."""

_locks = {dataset: threading.Lock() for dataset in DatasetName}
"""One load of a data set at a time, so that sessions that start at once share the work."""

_failed_downloads: dict[tuple[DatasetName, DataSettings], str] = {}
"""Why a download failed in this process: it is not tried again, or every reset would wait for the time limit."""


def load_images(request: ImageRequest, settings: DataSettings) -> TaskExamples:
    """Returns the images of a task from the first source that has them.

    The same request gives the same images from every source but the stand-in, which names itself in `source`. The
    answer is kept in memory: a process goes on with the images it began with, even if a file appears later. May block
    for `download_timeout_s`, once a process.

    Raises:
        DatasetError: No source has the images, they are too few, or the file in the data directory is damaged.
    """
    with _locks[request.dataset]:
        return _load(request, settings)


@functools.lru_cache(maxsize=_KEPT_REQUESTS)
def _load(request: ImageRequest, settings: DataSettings) -> TaskExamples:
    dataset = request.dataset
    file = settings.data_dir / file_name(dataset) if settings.data_dir is not None else None
    if file is not None and file.exists():
        return draw_from_set(request, read_image_set(file, dataset), Source.CACHE)
    if has_bundled(request):
        return load_bundled(request)
    if request.instead is not None:
        logger.warning(
            "All of %s is not there (%s): making do with %d images to train on and %d held out.",
            dataset,
            _absence(file),
            request.instead.train_size,
            request.instead.test_size,
        )
        return _load(request.instead, settings)
    try:
        downloaded = _download_unless_failed(dataset, settings)
    except DownloadError as error:
        return _do_without(request, file, str(error))
    return draw_from_set(request, read_image_set(downloaded, dataset), Source.DOWNLOAD)


def _download_unless_failed(dataset: DatasetName, settings: DataSettings) -> Path:
    """Downloads, unless the same download failed in this process before."""
    key = (dataset, settings)
    if key in _failed_downloads:
        raise DownloadError(_failed_downloads[key])
    try:
        return download(dataset, settings)
    except DownloadError as error:
        _failed_downloads[key] = str(error)
        if settings.download:
            logger.warning("%s", error)
        raise


def _do_without(request: ImageRequest, file: Path | None, reason: str) -> TaskExamples:
    """Returns the stand-in of CIFAR-10; for the other data sets there is nothing left to try."""
    if request.dataset is DatasetName.CIFAR10:
        logger.warning(
            "Using the procedural stand-in for CIFAR-10 (source: synthetic), because there is %s. %s",
            _absence(file),
            reason,
        )
        images, labels = draw_stand_in(request.total_size, request.seed)
        return split_into_parts(request, images, labels, Source.SYNTHETIC)
    place = f"{file} does not exist" if file else "there is no data directory"
    raise DatasetError(
        f"The images of {request} are nowhere to be had: {place}, the bundled set does not hold them, and {reason} "
        f"Put {file_name(request.dataset)} into the data directory, or allow the download."
    )


def _absence(file: Path | None) -> str:
    """What is not there, in words."""
    return f"no {file}" if file else "no data directory"
