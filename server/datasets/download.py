"""Downloads a data set into the data directory: once, whole or not at all, and within a time limit.

The fetching itself happens in a child process (`fetch.py`), which can be killed when the time is up, whatever it waits
for. Here are the lock, the time limit and the last step, which puts the finished file into its place in one move.
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
    """Downloads a whole data set, unless its file is there already.

    Processes that start at once download once: one fetches, and the others wait for its file. Shows a progress bar if
    the standard error stream is a terminal.

    Returns:
        The path of the data set's file in the data directory.

    Raises:
        DownloadError: The settings do not allow it, or it did not finish within the time limit; nothing is left behind.
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
    """Fetches into a temporary folder beside the target and moves the finished file into place."""
    prefix = f".{dataset.value}-download-"
    for left_behind in target.parent.glob(f"{prefix}*"):  # by a process that was killed: the lock is ours
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
    """Runs `fetch.py` in a child process until it ends or the deadline passes.

    Raises:
        DownloadError: The child failed or was killed.
    """
    mirror = next((mirror for mirror in settings.mirrors if mirror.dataset is dataset), None)
    order = {
        "dataset": dataset.value,
        "target": str(target),
        "url": mirror.url if mirror else None,
        "md5": dict(mirror.md5) if mirror else {},
    }
    try:
        child = subprocess.run(
            [sys.executable, "-m", _FETCH_MODULE],
            input=json.dumps(order),
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
