"""Runtimes: what agents can import. They are the environment of this service, and virtual environments of the operator.

An environment that is added is a folder of its own in the data folder. It is never changed: other packages are another
runtime. Runs see it read-only in the sandbox, instead of the environment of this service.
"""

import fcntl
import json
import platform
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy, DeployStatus, Runtime

__all__ = [
    "Contents",
    "MissingRuntimeError",
    "add_runtime",
    "default_runtime",
    "describe_runtimes",
    "environment_of",
    "find_runtime",
    "forget_unused",
    "inspect_environment",
    "provide_environment",
    "remove_runtime",
    "runtimes",
]

YOUNG_S = 24 * 3600.0
"""Younger folders are kept, because their packages may be about to be installed."""

MAX_REQUIREMENTS_BYTES = 64 * 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_INSPECT_S = 120.0
_INSPECT = """
import importlib.metadata, json, pkgutil, sys
from pathlib import Path
import numpy  # without it no data reach an agent
folders = [Path(entry) for entry in sys.path if Path(entry).is_dir()]
modules = {found.name for found in pkgutil.iter_modules(map(str, folders))} | sys.stdlib_module_names
modules |= {below.name for folder in folders for below in folder.iterdir() if below.is_dir()}
packages = {found.name: found.version for found in importlib.metadata.distributions()}
print(json.dumps({"packages": dict(sorted(packages.items())), "modules": sorted(modules)}))
"""


class MissingRuntimeError(Exception):
    """The environment of a runtime is not on this machine. The message names the runtime."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an environment has.

    Attributes:
        packages: Versions by the names of packages.
        modules: Names of the modules that can be imported, without those within packages.
    """

    packages: dict[str, str]
    modules: list[str]


def runtimes(session: Session) -> list[Runtime]:
    """List the available runtimes: those of this service first, then those that were added, by id."""
    query = sa.select(Runtime).where(Runtime.available)
    return list(session.scalars(query.order_by(Runtime.environment != "", Runtime.id)))


def find_runtime(session: Session, name: str) -> Runtime:
    """Get the available runtime of a name.

    Raises:
        RefusedError: There is none. The message lists the names that there are.
    """
    found = runtimes(session)
    known = [runtime for runtime in found if runtime.framework == name]
    if not known:
        raise RefusedError(f"there is no runtime {name[:64]!r}; there are {', '.join(one.framework for one in found)}")
    return known[-1]


def default_runtime(session: Session, name: str) -> Runtime | None:
    """Get the runtime that a competition names, available or not; without a name the first one of this service."""
    if name:
        return session.scalar(
            sa.select(Runtime).where(Runtime.framework == name).order_by(Runtime.available.desc(), Runtime.id.desc())
        )
    return next(iter(runtimes(session)), None)


def environment_of(runtime: Runtime | None, data_dir: Path) -> Path | None:
    """Get the virtual environment of a runtime; None for that of this service.

    Raises:
        MissingRuntimeError: It is not on this machine.
    """
    if runtime is None or not runtime.environment:
        return None
    folder = _folder(data_dir) / runtime.environment
    if not (folder / "bin" / "python").exists():
        raise MissingRuntimeError(f"the runtime {runtime.framework} is not on this machine: the operator should add it")
    return folder


def provide_environment(runtime: Runtime | None, data_dir: Path) -> None:
    """Install the packages of a runtime on this machine, if it was added on another one: the same versions.

    Raises:
        ArenaError: The packages cannot be installed.
    """
    if runtime is None or not runtime.environment:
        return
    base = _folder(data_dir)
    base.mkdir(mode=0o755, exist_ok=True)
    folder, begun = base / runtime.environment, base / f"{runtime.environment}.begun"
    with (base / "lock").open("w") as lock:  # several workers of a machine may need it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists() and not begun.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)  # an installation that was interrupted
        begun.write_text("".join(f"{name}=={version}\n" for name, version in runtime.packages.items()))
        try:
            _install(folder, begun)
            begun.unlink()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def describe_runtimes(session: Session) -> list[dict[str, Any]]:
    """List the available runtimes with all packages that agents can import there."""
    return [
        {
            "id": runtime.id,
            "name": runtime.framework,
            "version": runtime.framework_version,
            "python": runtime.language_version,
            "is_added": bool(runtime.environment),
            "requirement": runtime.requirement,
            "packages": [{"name": name, "version": version} for name, version in runtime.packages.items()],
        }
        for runtime in runtimes(session)
    ]


def add_runtime(services: Services, name: str, requirements: Path) -> Runtime:
    """Create a virtual environment and install packages with pip. NumPy comes with them.

    Args:
        services: The components of the service.
        name: Name of the runtime, by which participants and creators choose it.
        requirements: A requirements file of pip.

    Raises:
        ArenaError: The name is not valid or is in use, or the packages cannot be installed.
        OSError: The file cannot be read.
    """
    if not _NAME.fullmatch(name):
        raise ArenaError(
            f"a runtime's name should be like sklearn or torch-2.9, of 40 characters at the most, not {name!r}"
        )
    text = requirements.read_text()
    if len(text) > MAX_REQUIREMENTS_BYTES:
        raise ArenaError(f"{requirements} should have {MAX_REQUIREMENTS_BYTES} bytes at the most")
    with services.database.transaction(read_only=True) as session:
        if any(name == known.framework for known in runtimes(session)):
            raise ArenaError(f"there is a runtime {name}: remove it first, or choose another name")
    folder = _folder(services.settings.data_dir) / f"{name}-{secrets.token_hex(4)}"
    folder.parent.mkdir(mode=0o755, exist_ok=True)
    try:
        _install(folder, requirements)
        contents = inspect_environment(folder / "bin" / "python")
        with services.database.transaction() as session:
            earlier = sa.select(sa.func.count()).where(Runtime.framework == name, Runtime.environment != "")
            runtime = Runtime(
                language="python",
                language_version=platform.python_version(),
                framework=name,
                framework_version=str((session.scalar(earlier.select_from(Runtime)) or 0) + 1),
                requirement=text,
                environment=folder.name,
                packages=contents.packages,
                modules=contents.modules,
            )
            session.add(runtime)
            record(session, None, "runtime.add", name)
            session.flush()
            return runtime
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def remove_runtime(services: Services, name: str) -> bool:
    """Offer a runtime no longer. Its folder is removed when nothing needs it any more.

    Returns:
        Whether its folder was removed now. Otherwise a later start of the service removes it.

    Raises:
        NotFoundError: No runtime that was added has this name.
    """
    with services.database.transaction() as session:
        found = [one for one in runtimes(session) if one.framework == name and one.environment]
        if not found:
            raise NotFoundError(f"there is no runtime {name} that was added")
        for runtime in found:
            runtime.available = False
        record(session, None, "runtime.remove", name)
        session.flush()
        unused = [runtime for runtime in found if not _is_used(session, runtime)]
    for runtime in unused:
        shutil.rmtree(_folder(services.settings.data_dir) / runtime.environment, ignore_errors=True)
    return len(unused) == len(found)


def forget_unused(services: Services) -> int:
    """Remove the folders of removed runtimes that nothing needs. Returns their number.

    A runtime whose folder is not there, as after a backup was restored, is not available.
    """
    base = _folder(services.settings.data_dir)
    folders = {path.name: path for path in base.iterdir() if path.is_dir()} if base.is_dir() else {}
    with services.database.transaction() as session:
        for runtime in session.scalars(sa.select(Runtime).where(Runtime.environment != "")):
            if runtime.environment not in folders:
                runtime.available = False
            elif runtime.available or _is_used(session, runtime):
                del folders[runtime.environment]
    old = [path for path in folders.values() if path.stat().st_mtime < time.time() - YOUNG_S]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return len(old)


def inspect_environment(python: Path) -> Contents:
    """List what an environment has.

    Raises:
        ArenaError: Its interpreter does not work, or it has no NumPy.
    """
    done = _run([str(python), "-I", "-B", "-c", _INSPECT], capture_output=True, text=True, timeout=_INSPECT_S)
    if done.returncode != 0:
        raise ArenaError(f"the environment of {python} does not work: {done.stderr.strip()[-500:]}")
    return Contents(**json.loads(done.stdout))


def _install(folder: Path, requirements: Path) -> None:
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "numpy", "-r", str(requirements)]):
        # What pip says goes to standard error. Every user may read the folder: runs have another one.
        if (status := _run(command, stdout=2, umask=0o022).returncode) != 0:
            raise ArenaError(f"the packages were not installed: {' '.join(command[1:4])} ended with status {status}")


def _run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, **options)


def _is_used(session: Session, runtime: Runtime) -> bool:
    """Whether an evaluation that is not over or is ranked needs a runtime, or a competition names it."""
    ranked = sa.and_(Agent.status == AgentStatus.ACTIVE, Agent.scored_deploy_id == Deploy.id)
    needed = sa.or_(Deploy.status.in_((DeployStatus.QUEUED, DeployStatus.RUNNING)), ranked)
    query = sa.select(Deploy.id).join(Agent, Agent.id == Deploy.agent_id).where(Deploy.runtime_id == runtime.id, needed)
    if session.scalar(query.limit(1)) is not None:
        return True
    return any(found.get("runtime") == runtime.framework for found in session.scalars(sa.select(Competition.settings)))


def _folder(data_dir: Path) -> Path:
    return data_dir / "runtimes"
