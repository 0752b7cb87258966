"""Tries the sources of images in order. Logs a warning when a source fails.

1. The file in the data directory. A damaged file is an error.
2. The bundled sets, also for the smaller request in `instead`.
3. A download into the data directory, if the settings allow it.
4. The procedural stand-in, for CIFAR-10 only.
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

_CACHED_REQUESTS = 8
"""Number of requests whose images stay in memory. The largest takes 55 MB."""

_locks = {dataset: threading.Lock() for dataset in DatasetName}
"""One load of a data set at a time, so that concurrent sessions share the work."""

_failed_downloads: dict[tuple[DatasetName, DataSettings], str] = {}
"""Errors of failed downloads. They are not retried in this process, or every reset would wait for the time limit."""


def load_images(request: ImageRequest, settings: DataSettings) -> TaskExamples:
    """Return the images of a task from the first source that has them.

    The same request gives the same images from every source except the stand-in, which has its own `source`. The result
    is cached, so a process keeps its images even if a file appears later. May block for `download_timeout_s`, once per
    process.

    Raises:
        DatasetError: No source has enough images, or the file in the data directory is damaged.
    """
    with _locks[request.dataset]:
        return _load(request, settings)


@functools.lru_cache(maxsize=_CACHED_REQUESTS)
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
            _describe_missing(file),
            request.instead.train_size,
            request.instead.test_size,
        )
        return _load(request.instead, settings)
    try:
        downloaded = _download_unless_failed(dataset, settings)
    except DownloadError as error:
        return _load_stand_in(request, file, str(error))
    return draw_from_set(request, read_image_set(downloaded, dataset), Source.DOWNLOAD)


def _download_unless_failed(dataset: DatasetName, settings: DataSettings) -> Path:
    """Download, unless the same download failed in this process before."""
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


def _load_stand_in(request: ImageRequest, file: Path | None, reason: str) -> TaskExamples:
    """Return the stand-in for CIFAR-10. Raise a DatasetError for other data sets."""
    if request.dataset is DatasetName.CIFAR10:
        logger.warning(
            "Using the procedural stand-in for CIFAR-10 (source: synthetic), because there is %s. %s",
            _describe_missing(file),
            reason,
        )
        images, labels = draw_stand_in(request.total_size, request.seed)
        return split_into_parts(request, images, labels, Source.SYNTHETIC)
    place = f"{file} does not exist" if file else "there is no data directory"
    raise DatasetError(
        f"The images of {request} are nowhere to be had: {place}, the bundled set does not hold them, and {reason} "
        f"Put {file_name(request.dataset)} into the data directory, or allow the download."
    )


def _describe_missing(file: Path | None) -> str:
    """Describe what is missing."""
    return f"no {file}" if file else "no data directory"
