"""Initial data of a service: runtimes, tags, and the Permuted-MNIST competition with its benchmark."""

import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.schemas import NewCompetition
from ml_trainer_env.arena.competitions.service import create, keep_file
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import Contents, inspect_environment, runtimes
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.benchmark import run_benchmark
from ml_trainer_env.arena.tables import Competition, FilePurpose, Runtime, Tag
from ml_trainer_env.arena.tokens.service import find_or_create_user
from permuted_mnist.agent.linear import agent as linear

__all__ = ["set_up"]

HOUSE = "arena"
"""Owner of the first competition."""

FRAMEWORKS = ("numpy", "torch", "scipy", "gymnasium", "scikit-learn", "jax", "tensorflow")
TAGS = ("classification", "image", "meta-learning", "reinforcement-learning", "research", "rl", "teaching")

DESCRIPTION = (
    "Learn ten digits from scratch within a minute, after a random permutation of the pixels and of the labels. The "
    "images have MNIST's sizes and are drawn from fonts, new ones for each task; the test has other fonts. 4 GB, 2 "
    "processors, no network; the score is the mean accuracy over 10 tasks."
)


def set_up(services: Services) -> None:
    """Add missing initial data. Existing data is not changed, except whether a runtime is available."""
    contents = inspect_environment(Path(sys.executable))
    with services.database.transaction() as session:
        _runtimes(session, contents)
        have = set(session.scalars(sa.select(Tag.name)))
        session.add_all(Tag(name=name) for name in TAGS if name not in have)
        session.flush()
        if session.scalar(sa.select(Competition.id).limit(1)) is None:
            _first_competition(session, services)


def _runtimes(session: Session, contents: Contents) -> None:
    """Update the runtimes of this service's environment. That of a removed framework stays: agents refer to it."""
    python = platform.python_version()
    found = {(python, name): _version(name) for name in FRAMEWORKS}
    for runtime in session.scalars(sa.select(Runtime).where(Runtime.environment == "")):
        key = runtime.language_version, runtime.framework
        runtime.available = found.get(key) == runtime.framework_version
        if runtime.available:
            found.pop(key)
    session.add_all(
        Runtime(
            language="python",
            language_version=python,
            framework=name,
            framework_version=installed,
            requirement=f"{name}=={installed}",
        )
        for (python, name), installed in found.items()
        if installed is not None
    )
    session.flush()
    for runtime in runtimes(session):
        if not runtime.environment:
            runtime.packages, runtime.modules = contents.packages, contents.modules


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _first_competition(session: Session, services: Services) -> None:
    house = find_or_create_user(session, HOUSE)
    wanted = NewCompetition(name="Permuted MNIST", kernel_version=Kernel.PERMUTED_MNIST, description=DESCRIPTION)
    competition = create(session, house.id, wanted)
    with open(linear.__file__, "rb") as file:
        content = file.read()
    keep_file(session, competition, FilePurpose.BENCHMARK, "agent.py", services.blobs.put(content), len(content))
    run_benchmark(session, competition, services)
    competition.is_started, competition.started_at = True, time.time()
