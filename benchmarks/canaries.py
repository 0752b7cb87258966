"""What knowledge carried in has on the hardened variant of Permuted MNIST, and what learning has.

    python benchmarks/canaries.py [--episodes 5] [--seed 2026] [--only NAME,...] [--json FILE]

- canary: looks public MNIST images up by their sorted values;
- lookup: undoes the permutation from known statistics of MNIST, then looks the images up;
- network: a network trained beforehand with the renderer's own code on its training fonts reads the digits;
- features: the same network, but a linear classifier of its last hidden layer is learned from the task's labels;
- tuned: `unscramble`, which learns from the task for its 48 s, but begins with the weights of that network;
- linear, mlp, mlp_fast, unscramble: the agents that come with the challenge, which bring nothing.

Each runs under the competition's limits (60 s, 2 processors), so nothing else may run. The network is trained first
(about 4 minutes; `--network FILE` keeps it). Public MNIST is that of ML_TRAINER_DATA_DIR, else ../shared/data, else the
bundled images. All of it takes about 30 minutes.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from serving.figures import circumstances
from serving.processes import ROOT

from ml_trainer_env.server.datasets.fonts import load_fonts
from ml_trainer_env.server.datasets.glyphs import draw_glyphs, draw_shapes
from ml_trainer_env.server.datasets.random_stream import RandomStream
from permuted_mnist.agent.unscramble.network import build_network
from permuted_mnist.cli import OWN_AGENTS
from permuted_mnist.evaluation.series import evaluate
from permuted_mnist.hardening import DIGITS, SHAPES, STYLE, DrawnDigits
from permuted_mnist.mnist import load_mnist
from permuted_mnist.sandbox.layers import find_layers
from permuted_mnist.tasks import Variant

SHARED_DATA = ROOT.parent / "shared" / "data"
CANARIES = ROOT / "tests" / "permuted_mnist"
NAMES = ("canary", "lookup", "network", "features", "tuned", "linear", "mlp", "mlp_fast", "unscramble")

CARRIED = '''"""The network of `unscramble`, with weights that were trained beforehand."""

from pathlib import Path
from typing import Any

import torch

from .plain_network import build_network as build

WEIGHTS = Path(__file__).with_name("network.pt")


def build_network(labels: int, generator: torch.Generator) -> Any:
    network = build(labels, generator)
    last = len(network) - 1
    weights = torch.load(WEIGHTS, weights_only=True)
    network.load_state_dict({k: v for k, v in weights.items() if not k.startswith(f"{last}.")}, strict=False)
    return network
'''
"""The last layer stays as it is drawn: which label a digit has is new in each task."""

SHAPES_AN_EPOCH, IMAGES_A_SHAPE = 1000, 60
"""The network sees so many tasks' shapes of the ten digits in each epoch, none of them twice."""

BATCH_SIZE, PEAK_RATE, WARM_UP = 128, 0.01, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--train-images", type=int, default=60_000, help="of a task; the test has a sixth as many")
    parser.add_argument("--epochs", type=int, default=8, help="of 60,000 images, for the network that is carried in")
    parser.add_argument("--network", type=Path, help="where it is kept; one that is there is not trained anew")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    digits = DrawnDigits(arguments.train_images, arguments.train_images // 6)
    print(f"{circumstances()}; {digits}; {', '.join(find_layers().names)}\n", flush=True)
    print(
        "| agent | accuracy, mean | sd | least | most | train and predict, s, mean | n |\n|---|---|---|---|---|---|---|"
    )
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        network = arguments.network or Path(folder) / "network.pt"
        for name in arguments.only.split(","):
            with folder_of(name, network, arguments.epochs) as agent:
                result = evaluate(
                    agent, digits, find_layers(), arguments.episodes, Variant.HARDENED, seed=arguments.seed
                )
            right = [episode.accuracy or 0.0 for episode in result.episodes]
            failures = [str(episode.failure) for episode in result.episodes if episode.failure]
            print(
                f"| {name} | {statistics.mean(right):.4f} | {statistics.stdev(right) if len(right) > 1 else 0:.4f} | "
                f"{min(right):.4f} | {max(right):.4f} | {result.total_s / len(right):.1f} | {len(right)} | "
                f"{', '.join(failures)}",
                flush=True,
            )
            found[name] = result.as_json()
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


@contextmanager
def folder_of(name: str, network: Path, epochs: int) -> Iterator[Path]:
    """An agent's folder; a canary's with what it brings."""
    if (OWN_AGENTS / name).is_dir():
        yield OWN_AGENTS / name
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        if name in ("canary", "lookup"):
            shutil.copytree(CANARIES / ("canary" if name == "canary" else "canary_lookup"), folder)
            save_public(folder / "public.npz")
        elif name in ("network", "features", "tuned"):
            if not network.exists():
                train_network(network, epochs)
            copy_carrying(name, folder)
            shutil.copy(network, folder / "network.pt")
        else:
            raise SystemExit(f"there should be agents of these names: {', '.join(NAMES)}, got {name}")
        yield folder


def copy_carrying(name: str, folder: Path) -> None:
    """Copy an agent that brings a network, all but its weights."""
    if name == "tuned":
        shutil.copytree(OWN_AGENTS / "unscramble", folder)
        (folder / "network.py").rename(folder / "plain_network.py")
        (folder / "network.py").write_text(CARRIED)
        return
    shutil.copytree(CANARIES / "canary_network", folder)
    for part in ("layout", "puzzle", "network"):
        source = (OWN_AGENTS / "unscramble" / f"{part}.py").read_text()
        (folder / f"{part}.py").write_text(source.replace("from . import", "import"))
    if name == "features":
        (folder / "learns.txt").touch()


def save_public(file: Path) -> None:
    """Write the public images of MNIST to a file."""
    named = os.environ.get("ML_TRAINER_DATA_DIR")
    mnist = load_mnist(Path(named) if named else SHARED_DATA)
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(file, **{name: getattr(mnist, name) for name in names})


def train_network(file: Path, epochs: int) -> None:
    """Train a network on the training fonts, in shapes drawn as those of tasks are."""
    began = time.monotonic()
    generator = torch.Generator().manual_seed(1)
    network = build_network(len(DIGITS), generator)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=0.02, fused=True)
    short = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    per_epoch = SHAPES_AN_EPOCH * IMAGES_A_SHAPE
    for epoch in range(epochs):
        images, digits = drawn(epoch)
        for number, chosen in enumerate(torch.randperm(per_epoch, generator=generator).split(BATCH_SIZE)):
            progress = (epoch + number * BATCH_SIZE / per_epoch) / epochs
            optimizer.param_groups[0]["lr"] = PEAK_RATE * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))
            shift = torch.randint(-1, 2, (2,), generator=generator).tolist()  # layouts come back shifted
            batch = (images[chosen][:, None].float() / 255).roll(shift, (2, 3))
            with torch.autocast("cpu", torch.bfloat16, enabled=short):
                scores = network(batch.contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(scores.float(), digits[chosen], label_smoothing=0.05).backward()
            optimizer.step()
    torch.save(network.state_dict(), file)
    print(f"(the network: {epochs} epochs of {per_epoch:,} images in {time.monotonic() - began:.0f} s)", flush=True)


def drawn(epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of an epoch: all shapes are new."""
    fonts, stream, parts = load_fonts(), RandomStream([2026, epoch]), []
    for _ in range(SHAPES_AN_EPOCH):
        shapes = draw_shapes(len(DIGITS), STYLE.side, SHAPES, stream)
        parts.append(draw_glyphs(fonts, fonts.for_training, DIGITS, IMAGES_A_SHAPE, stream, STYLE, shapes))
    images, digits = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return torch.from_numpy(images), torch.from_numpy(digits)


if __name__ == "__main__":
    main()
