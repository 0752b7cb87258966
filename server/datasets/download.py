"""Downloads a data set into the data directory, once, atomically, and within a time limit.

A child process (`fetch.py`) fetches the files, because a process can always be killed at the time limit. This module
holds the lock, enforces the time limit and moves the finished file into place.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from ml_trainer_env.server.datasets.errors import DatasetError, DownloadError
from ml_trainer_env.server.datasets.npz import file_name, read_image_set
from ml_trainer_env.server.datasets.values import DatasetName, DataSettings

__all__ = ["download"]

_FETCH_MODULE = "ml_trainer_env.server.datasets.fetch"


def download(dataset: DatasetName, settings: DataSettings) -> Path:
    """Download a whole data set, unless its file exists.

    Of several processes one downloads, and the others wait for its file. Shows a progress bar if stderr is a terminal.

    Returns:
        The path of the data set's file in the data directory.

    Raises:
        DownloadError: The settings do not allow it, or it failed or exceeded the time limit. No file is left.
    """
    if not settings.download or settings.data_dir is None:
        raise DownloadError(
            f"Downloading {dataset} needs leave to use the network and a data directory; "
            f"the settings have download={settings.download} and data_dir={settings.data_dir}."
        )
    target = settings.data_dir / file_name(dataset)
    deadline = time.monotonic() + settings.download_timeout_s
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(settings.data_dir / f".{dataset.value}.lock", timeout=settings.download_timeout_s):
            if not target.exists():
                _download_locked(dataset, settings, target, deadline)
    except Timeout as error:
        raise DownloadError(
            f"Another process has been downloading {dataset} for more than {settings.download_timeout_s:g} s. "
            "Wait for it, or raise the time limit."
        ) from error
    except OSError as error:
        raise DownloadError(f"{dataset} cannot be stored in {settings.data_dir}: {error}.") from error
    return target


def _download_locked(dataset: DatasetName, settings: DataSettings, target: Path, deadline: float) -> None:
    """Fetch into a temporary folder beside the target, and move the finished file into place."""
    prefix = f".{dataset.value}-download-"
    for left_behind in target.parent.glob(f"{prefix}*"):  # left by a killed process; this process holds the lock
        shutil.rmtree(left_behind, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as folder:
        fetched = Path(folder) / file_name(dataset)
        _fetch(dataset, settings, fetched, deadline)
        try:
            read_image_set(fetched, dataset)
        except DatasetError as error:
            raise DownloadError(f"The download of {dataset} came out damaged: {error}") from error
        os.replace(fetched, target)


def _fetch(dataset: DatasetName, settings: DataSettings, target: Path, deadline: float) -> None:
    """Run `fetch.py` in a child process until it ends or the deadline passes.

    Raises:
        DownloadError: The child failed or was killed.
    """
    mirror = next((mirror for mirror in settings.mirrors if mirror.dataset is dataset), None)
    request = {
        "dataset": dataset.value,
        "target": str(target),
        "url": mirror.url if mirror else None,
        "md5": dict(mirror.md5) if mirror else {},
    }
    try:
        child = subprocess.run(
            [sys.executable, "-m", _FETCH_MODULE],
            input=json.dumps(request),
            stdout=subprocess.PIPE,
            timeout=max(0.0, deadline - time.monotonic()),
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"The download of {dataset} took longer than {settings.download_timeout_s:g} s and was stopped. "
            "Raise the time limit, or put the file into the data directory."
        ) from error
    if child.returncode != 0:
        reason = child.stdout.strip() or f"the fetching process ended with code {child.returncode}"
        raise DownloadError(f"The download of {dataset} failed: {reason}")
