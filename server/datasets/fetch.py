"""The child process of `download.py`: fetches the original files of one data set and writes them as one `.npz`.

Run as `python -m ml_trainer_env.server.datasets.fetch` with the request as JSON on stdin: `dataset`, `target` (the path
to write), `url` (of a mirror, or null) and `md5` (file name to MD5 hex, for a mirror's own files). The exit code is 0,
or 1 with the reason on stdout. No module imports this one.

The addresses are those of torchvision. Importing torchvision takes seconds, because it loads torch's compiler, and
fails with a CPU-only torch. CIFAR-10 is fetched in its binary form, which needs no pickle.
"""

import gzip
import hashlib
import json
import sys
import tarfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from ml_trainer_env.server.datasets.errors import DownloadError
from ml_trainer_env.server.datasets.npz import ImageSet, write_image_set
from ml_trainer_env.server.datasets.values import DatasetName, Images, Labels

CONNECT_LIMIT_S = 5.0
"""Time limit for an answer of the host, name resolution included."""

STALL_LIMIT_S = 20.0
"""Time limit for a connection that sends nothing."""

FAILURES = (DownloadError, httpx.HTTPError, tarfile.TarError, zlib.error, OSError, EOFError, ValueError, KeyError)
"""Errors of networks, disks and damaged content. Any other error is a bug and ends the process with a traceback."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The location of a data set's original files.

    Attributes:
        url: The folder, with a slash at the end.
        md5: File name to MD5 hex, in the order train images, train labels, test images, test labels, or one archive.
    """

    url: str
    md5: dict[str, str]


CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"

ORIGINS = {
    DatasetName.MNIST: Origin(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    DatasetName.FASHION_MNIST: Origin(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    DatasetName.CIFAR10: Origin(
        "https://www.cs.toronto.edu/~kriz/", {CIFAR10_ARCHIVE: "c32a1d4ab5d03f1284b67883e8d87530"}
    ),
}
"""Addresses and checksums. MNIST, Fashion-MNIST: torchvision 0.27, `datasets/mnist.py`; CIFAR-10: its own page."""


def main() -> int:
    """Run the request on stdin and return the exit code."""
    request = json.load(sys.stdin)
    dataset = DatasetName(request["dataset"])
    target = Path(request["target"])
    origin = Origin(request["url"] or ORIGINS[dataset].url, ORIGINS[dataset].md5 | request["md5"])
    try:
        probe(origin.url)
        files = fetch_files(origin, target.parent)
        write_image_set(target, read_cifar10(files[0]) if dataset is DatasetName.CIFAR10 else read_mnist(files))
    except FAILURES as error:
        sys.stdout.write(str(error) if isinstance(error, DownloadError) else f"{type(error).__name__}: {error}")
        return 1
    return 0


def probe(url: str) -> None:
    """Send a request for the folder. Any response is accepted.

    Raises:
        DownloadError: The host did not answer within `CONNECT_LIMIT_S`. The timeout of httpx is not enough: it
            excludes name resolution, which can take much longer without a network.
    """
    failures = [f"{url} did not answer within {CONNECT_LIMIT_S:g} s"]

    def ask() -> None:
        try:
            httpx.head(url, timeout=CONNECT_LIMIT_S)
            failures.clear()
        except httpx.HTTPError as error:
            failures[0] = f"{url} cannot be reached: {error}"

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_LIMIT_S)
    if failures:
        raise DownloadError(failures[0])


def fetch_files(origin: Origin, folder: Path) -> list[Path]:
    """Download the files of an origin into a folder, and return their paths in the same order.

    Raises:
        DownloadError: A file has the wrong MD5.
        httpx.HTTPError: A file cannot be downloaded.
    """
    timeout = httpx.Timeout(STALL_LIMIT_S, connect=CONNECT_LIMIT_S)
    with httpx.Client(base_url=origin.url, timeout=timeout, follow_redirects=True) as client:
        return [fetch_file(client, name, md5, folder / name) for name, md5 in origin.md5.items()]


def fetch_file(client: httpx.Client, name: str, md5: str, target: Path) -> Path:
    """Download one file, with a progress bar if stderr is a terminal."""
    digest = hashlib.md5(usedforsecurity=False)
    with client.stream("GET", name, headers={"Accept-Encoding": "identity"}) as response, target.open("wb") as file:
        response.raise_for_status()
        size = int(response.headers.get("Content-Length", 0)) or None
        with tqdm(desc=name, total=size, unit="B", unit_scale=True, disable=None) as progress:
            for chunk in response.iter_raw():
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
    if digest.hexdigest() != md5:
        raise DownloadError(f"{response.url} should have the MD5 {md5} and has {digest.hexdigest()}")
    return target


def read_mnist(files: list[Path]) -> ImageSet:
    """Read the four files of MNIST's format: big-endian sizes in 16 bytes (images) or 8 (labels), then the data."""
    train_images, train_labels, test_images, test_labels = (gzip.decompress(file.read_bytes()) for file in files)
    return ImageSet(
        train_images=np.frombuffer(train_images, dtype=np.uint8, offset=16).reshape(-1, 28, 28),
        train_labels=np.frombuffer(train_labels, dtype=np.uint8, offset=8).astype(np.int64),
        test_images=np.frombuffer(test_images, dtype=np.uint8, offset=16).reshape(-1, 28, 28),
        test_labels=np.frombuffer(test_labels, dtype=np.uint8, offset=8).astype(np.int64),
    )


def read_cifar10(archive: Path) -> ImageSet:
    """Read the binary archive of CIFAR-10: records of a label and 3 x 32 x 32 pixels, in six batches."""
    with tarfile.open(archive) as files:
        train = [read_batch(files, f"data_batch_{number}.bin") for number in range(1, 6)]
        test_images, test_labels = read_batch(files, "test_batch.bin")
    return ImageSet(
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=test_images,
        test_labels=test_labels,
    )


def read_batch(archive: tarfile.TarFile, name: str) -> tuple[Images, Labels]:
    """Return the images (N, 32, 32, 3) and labels (N,) of one batch."""
    file = archive.extractfile(f"cifar-10-batches-bin/{name}")
    if file is None:
        raise DownloadError(f"{name} in {CIFAR10_ARCHIVE} is not a file")
    records = np.frombuffer(file.read(), dtype=np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0].astype(np.int64)


if __name__ == "__main__":
    sys.exit(main())
