"""Downloads, against a server on this machine: whole, damaged, slow, or two at once."""

import contextlib
import gzip
import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from ml_trainer_env.server.datasets import (
    DatasetName,
    DataSettings,
    DownloadError,
    ImageRequest,
    ImageSet,
    Mirror,
    Source,
    download,
    load_images,
    read_image_set,
)

FASHION, CIFAR = DatasetName.FASHION_MNIST, DatasetName.CIFAR10


@dataclass
class FileServer:
    """Serves files from memory, and counts how often each was asked for.

    Attributes:
        files: Path to content.
        promised: Path to the length that the headers promise, where it is not the true one.
        pause_s: Seconds to wait before the content of every file.
        url: The address of the folder.
        requested: How often each path was asked for.
        closing: Set to end all waiting.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    promised: dict[str, int] = field(default_factory=dict)
    pause_s: float = 0.0
    url: str = ""
    requested: Counter[str] = field(default_factory=Counter)
    closing: threading.Event = field(default_factory=threading.Event)

    def mirror(self, dataset: DatasetName) -> Mirror:
        md5 = {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}
        return Mirror(dataset, self.url, tuple(md5.items()))


@pytest.fixture
def server() -> Iterator[FileServer]:
    served = FileServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            served.requested[name] += 1
            if name not in served.files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(served.promised.get(name, len(served.files[name]))))
            self.end_headers()
            served.closing.wait(served.pause_s)
            self.wfile.write(served.files[name])

        def log_message(self, *_: object) -> None:
            pass

    class QuietServer(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Says nothing of a client that was killed."""

    with QuietServer(("127.0.0.1", 0), Handler) as listener:
        served.url = f"http://127.0.0.1:{listener.server_port}/"
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        yield served
        served.closing.set()
        listener.shutdown()
        thread.join()


def idx_files(images: ImageSet) -> dict[str, bytes]:
    """The four files of MNIST's format: the header is skipped, so its content does not matter."""
    parts = {
        "train-images-idx3-ubyte.gz": (16, images.train_images),
        "train-labels-idx1-ubyte.gz": (8, images.train_labels.astype(np.uint8)),
        "t10k-images-idx3-ubyte.gz": (16, images.test_images),
        "t10k-labels-idx1-ubyte.gz": (8, images.test_labels.astype(np.uint8)),
    }
    return {name: gzip.compress(bytes(header) + array.tobytes()) for name, (header, array) in parts.items()}


def cifar_archive(images: ImageSet) -> dict[str, bytes]:
    """The binary archive of CIFAR-10."""

    def records(pixels: np.ndarray, labels: np.ndarray) -> bytes:
        rows = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        return np.concatenate([labels.astype(np.uint8)[:, None], rows], axis=1).tobytes()

    train = zip(np.array_split(images.train_images, 5), np.array_split(images.train_labels, 5), strict=True)
    batches = {f"data_batch_{number}.bin": records(*part) for number, part in enumerate(train, start=1)}
    batches["test_batch.bin"] = records(images.test_images, images.test_labels)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return {"cifar-10-binary.tar.gz": archive.getvalue()}


def settings_for(server: FileServer, dataset: DatasetName, data_dir, timeout_s: float = 60.0) -> DataSettings:
    return DataSettings(data_dir, download=True, download_timeout_s=timeout_s, mirrors=(server.mirror(dataset),))


def left_in(folder) -> list[str]:
    """What is in a folder, its lock file aside."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def assert_same(found: ImageSet, expected: ImageSet) -> None:
    np.testing.assert_array_equal(found.train_images, expected.train_images)
    np.testing.assert_array_equal(found.train_labels, expected.train_labels)
    np.testing.assert_array_equal(found.test_images, expected.test_images)
    np.testing.assert_array_equal(found.test_labels, expected.test_labels)


def test_files_in_the_format_of_mnist_arrive_whole(server, tmp_path, fashion_set):
    server.files = idx_files(fashion_set)

    path = download(FASHION, settings_for(server, FASHION, tmp_path))

    assert_same(read_image_set(path, FASHION), fashion_set)
    assert left_in(tmp_path) == ["fashion_mnist.npz"]


def test_the_archive_of_cifar_arrives_whole(server, tmp_path, cifar_set):
    server.files = cifar_archive(cifar_set)

    path = download(CIFAR, settings_for(server, CIFAR, tmp_path / "new" / "folder"))

    assert_same(read_image_set(path, CIFAR), cifar_set)
    assert left_in(path.parent) == ["cifar10.npz"]


@pytest.mark.slow
def test_a_task_is_served_by_a_download_and_then_by_its_file(server, tmp_path, cifar_set, small_cifar_request):
    server.files = cifar_archive(cifar_set)

    first = load_images(small_cifar_request, settings_for(server, CIFAR, tmp_path))
    second = load_images(small_cifar_request, DataSettings(tmp_path))

    assert (first.source, second.source) == (Source.DOWNLOAD, Source.CACHE)
    assert first.checksum == second.checksum
    assert server.requested == {"cifar-10-binary.tar.gz": 1}


def test_a_file_that_is_there_is_not_downloaded_again(server, tmp_path, fashion_set):
    server.files = idx_files(fashion_set)
    settings = settings_for(server, FASHION, tmp_path)
    download(FASHION, settings)
    server.requested.clear()

    download(FASHION, settings)

    assert not server.requested


@pytest.mark.slow
def test_a_file_cut_short_is_refused_and_nothing_is_left(server, tmp_path, cifar_set):
    server.files = cifar_archive(cifar_set)
    mirror = server.mirror(CIFAR)
    (name, content), *_ = server.files.items()
    server.promised = {name: len(content)}
    server.files = {name: content[:-1000]}

    with pytest.raises(DownloadError, match="failed: RemoteProtocolError: peer closed connection"):
        download(CIFAR, DataSettings(tmp_path, download=True, mirrors=(mirror,)))

    assert left_in(tmp_path) == []


def test_a_corrupt_file_is_refused_and_nothing_is_left(server, tmp_path, fashion_set):
    server.files = idx_files(fashion_set)
    mirror = server.mirror(FASHION)
    corrupt = bytearray(server.files["t10k-images-idx3-ubyte.gz"])
    corrupt[500] ^= 0xFF
    server.files["t10k-images-idx3-ubyte.gz"] = bytes(corrupt)

    with pytest.raises(DownloadError, match=r"t10k-images-idx3-ubyte\.gz should have the MD5"):
        download(FASHION, DataSettings(tmp_path, download=True, mirrors=(mirror,)))

    assert left_in(tmp_path) == []


@pytest.mark.slow
def test_a_mirror_with_other_content_than_the_official_one_is_refused(server, tmp_path, fashion_set):
    server.files = idx_files(fashion_set)

    with pytest.raises(DownloadError, match="should have the MD5 8d4fb7e6c68d591d4c3dfef9ec88bf0d"):
        download(FASHION, DataSettings(tmp_path, download=True, mirrors=(Mirror(FASHION, server.url),)))


@pytest.mark.slow
def test_content_of_another_shape_is_refused_and_nothing_is_left(server, tmp_path, fashion_set):
    wrong = ImageSet(
        fashion_set.train_images, fashion_set.train_labels[:-1], fashion_set.test_images, fashion_set.test_labels
    )
    server.files = idx_files(wrong)

    with pytest.raises(DownloadError, match="came out damaged"):
        download(FASHION, settings_for(server, FASHION, tmp_path))

    assert left_in(tmp_path) == []


def test_a_missing_file_is_named(server, tmp_path, cifar_set):
    server.files = cifar_archive(cifar_set)
    settings = settings_for(server, CIFAR, tmp_path)
    server.files = {}

    with pytest.raises(DownloadError, match="404"):
        download(CIFAR, settings)


def test_a_download_that_takes_too_long_is_stopped_and_nothing_is_left(server, tmp_path, cifar_set):
    server.files = cifar_archive(cifar_set)
    server.pause_s = 60.0
    began = time.monotonic()

    with pytest.raises(DownloadError, match="took longer than 2 s and was stopped"):
        download(CIFAR, settings_for(server, CIFAR, tmp_path, timeout_s=2.0))

    assert time.monotonic() - began < 20.0
    assert left_in(tmp_path) == []


def test_what_a_killed_process_left_is_swept_away(server, tmp_path, fashion_set):
    server.files = idx_files(fashion_set)
    (tmp_path / ".fashion_mnist-download-abc").mkdir()
    (tmp_path / ".fashion_mnist-download-abc" / "train-images-idx3-ubyte.gz").write_bytes(b"half")

    download(FASHION, settings_for(server, FASHION, tmp_path))

    assert left_in(tmp_path) == ["fashion_mnist.npz"]


@pytest.mark.slow
def test_two_processes_that_start_at_once_download_once(server, tmp_path, fashion_set):
    server.files = idx_files(fashion_set)
    server.pause_s = 0.3
    settings = settings_for(server, FASHION, tmp_path)
    program = (
        "from pathlib import *\nfrom ml_trainer_env.server.datasets import *\n"
        f"settings = DataSettings(Path({str(tmp_path)!r}), True, 60.0, ({mirror_text(settings)},))\n"
        "print(download(DatasetName.FASHION_MNIST, settings).name)"
    )

    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0].decode().strip() for process in processes]

    assert answers == ["fashion_mnist.npz", "fashion_mnist.npz"]
    assert server.requested == dict.fromkeys(server.files, 1)
    assert_same(read_image_set(tmp_path / "fashion_mnist.npz", FASHION), fashion_set)


def mirror_text(settings: DataSettings) -> str:
    (mirror,) = settings.mirrors
    return f"Mirror(DatasetName({mirror.dataset.value!r}), {mirror.url!r}, {mirror.md5!r})"


@pytest.mark.slow
def test_waiting_for_another_process_counts_towards_the_time_limit(server, tmp_path, cifar_set):
    server.files = cifar_archive(cifar_set)
    server.pause_s = 60.0
    other = threading.Thread(target=lambda: try_download(settings_for(server, CIFAR, tmp_path, timeout_s=6.0)))
    other.start()
    while not (tmp_path / ".cifar10.lock").exists():
        time.sleep(0.02)
    time.sleep(0.3)

    with pytest.raises(DownloadError, match="Another process has been downloading cifar10 for more than 1 s"):
        download(CIFAR, settings_for(server, CIFAR, tmp_path, timeout_s=1.0))

    server.closing.set()
    other.join()


def try_download(settings: DataSettings) -> None:
    with contextlib.suppress(DownloadError):
        download(CIFAR, settings)


@pytest.mark.parametrize(("allowed", "has_folder"), [(False, True), (True, False)])
def test_a_download_needs_leave_and_a_folder(tmp_path, allowed, has_folder):
    settings = DataSettings(tmp_path if has_folder else None, download=allowed)

    with pytest.raises(DownloadError, match="needs leave to use the network and a data directory"):
        download(CIFAR, settings)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, server):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DownloadError, match="cannot be stored in"):
        download(CIFAR, DataSettings(tmp_path / "file", download=True, mirrors=(server.mirror(CIFAR),)))


@pytest.mark.slow
def test_a_damaged_download_never_stops_the_hard_task(server, tmp_path, cifar_set, caplog):
    server.files = cifar_archive(cifar_set)
    request = ImageRequest(CIFAR, 20, 10, 8, seed=7)

    images = load_images(request, DataSettings(tmp_path, download=True, mirrors=(Mirror(CIFAR, server.url),)))

    assert images.source is Source.SYNTHETIC
    assert "should have the MD5" in caplog.text
    assert left_in(tmp_path) == []
