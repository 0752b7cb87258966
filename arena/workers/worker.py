"""A worker: claims evaluations and plays them, one at a time.

A thread renews the lease while the worker plays. If the evaluation is cancelled or claimed by another worker, the next
renewal or write fails, and this worker drops the evaluation.
"""

import logging
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.repository import competition_files
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.errors import ArenaError, FilesUnavailableError, ForbiddenError, UnauthorizedError
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import MissingRuntimeError, default_runtime, environment_of, provide_environment
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.opponents import moves_first
from ml_trainer_env.arena.tables import (
    Agent,
    Blame,
    Competition,
    Deploy,
    FilePurpose,
    Run,
    RunKind,
    RunStatus,
    Runtime,
    Scope,
)
from ml_trainer_env.arena.tokens.service import authenticate, require
from ml_trainer_env.arena.workers.finals import queue_finalist
from ml_trainer_env.arena.workers.match import Contestant, play_match
from ml_trainer_env.arena.workers.outcomes import RunOutcome, failed, without_details
from ml_trainer_env.arena.workers.play import play
from ml_trainer_env.arena.workers.queue import (
    Claim,
    ClaimLostError,
    claim,
    finish,
    must_yield,
    next_run,
    record_run,
    release,
    renew,
)
from permuted_mnist.evaluation.results import Failure
from permuted_mnist.evaluation.series import agent_seed
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers
from permuted_mnist.sandbox.limits import Limits

__all__ = ["Worker", "layers_for_submissions"]

_LOG = logging.getLogger(__name__)

POLL_S = 0.5
"""Interval at which an idle worker polls the queue."""

FILES_WAIT_S = 5.0
"""Pause of a worker that cannot reach the files."""

TURN_S = 60.0
"""Length of a turn. After a turn of at least one run, waiting evaluations of other users have priority."""


def layers_for_submissions() -> Layers:
    """Find the sandbox layers for submissions. Logs each missing protection.

    Raises:
        UnsupportedError: Submissions could access the network or the service's files.
    """
    layers = find_layers()
    if layers.bubblewrap is None:
        raise UnsupportedError(f"submissions could read what the service keeps: {' '.join(layers.missing)}")
    for weakness in layers.missing:
        _LOG.warning("%s", weakness)
    return layers


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker needs to know of a run. `opponent` is the evaluation whose files it meets; None without matches."""

    run: Run
    kernel: Kernel
    timeout_s: float
    runtime: Runtime | None
    env_runtime: Runtime | None
    opponent: Deploy | None
    rival_runtime: Runtime | None


def _task(session: Session, run: Run, deploy: Deploy) -> _Task:
    agent = session.get_one(Agent, deploy.agent_id)
    competition = session.get_one(Competition, agent.competition_id)
    settings = settings_of(competition)
    opponent = session.get_one(Deploy, run.opponent_deploy_id) if run.opponent_deploy_id is not None else None

    def runtime_of(one: Deploy | None) -> Runtime | None:
        return session.get(Runtime, one.runtime_id) if one is not None and one.runtime_id is not None else None

    return _Task(
        run=run,
        kernel=Kernel(competition.kernel),
        timeout_s=settings.simulation_timeout_sec,
        runtime=runtime_of(deploy),
        env_runtime=default_runtime(session, settings.runtime) if settings.runtime else None,
        opponent=opponent,
        rival_runtime=runtime_of(opponent),
    )


class Worker:
    """Processes the queue.

    Args:
        services: The components of the service.
        layers: Sandbox layers for submissions.
        turn_s: Length of a turn while other users wait.
    """

    def __init__(self, services: Services, layers: Layers, turn_s: float = TURN_S) -> None:
        self._services = services
        self._layers = layers
        self._turn_s = turn_s
        self.name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"

    def prove(self) -> None:
        """Check that this worker may work: if workers are on several machines, by its own token.

        Raises:
            UnauthorizedError: The token is missing, unknown, expired or revoked.
            ForbiddenError: It is no token of a worker.
        """
        with self._transaction():
            pass

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """Open a transaction in which this worker has proved itself. One whose token is revoked writes nothing more."""
        settings = self._services.settings
        with self._services.database.transaction() as session:
            if settings.is_shared:
                if settings.worker_token is None:
                    raise UnauthorizedError(
                        "a worker needs a token of its own: ml-arena token create --scope worker --user NAME. Set "
                        "ARENA_WORKER_TOKEN to it"
                    )
                require(authenticate(session, settings.worker_token), Scope.WORKER)
            yield session

    def work(self, stop: threading.Event) -> None:
        """Work until `stop` is set, or the token is revoked. The current run is finished.

        Other workers continue with the evaluation.
        """
        while not stop.is_set():
            try:
                if not self.work_once(stop):
                    stop.wait(POLL_S)
            except (ForbiddenError, UnauthorizedError) as error:
                _LOG.error("this worker stops: %s", error)
                return
            except Exception:  # the evaluation is claimed again when its lease expires
                _LOG.exception("an evaluation was dropped")
                stop.wait(POLL_S)

    def work_once(self, stop: threading.Event | None = None) -> bool:
        """Claim one evaluation and play it until it ends or must yield. Returns False if the queue is empty."""
        stop = stop or threading.Event()
        lease_s = self._services.settings.lease_s
        with self._transaction() as session:
            held = claim(session, self.name, lease_s)
            if held is None and queue_finalist(session, self._services):
                held = claim(session, self.name, lease_s)
        if held is None:
            return False
        _LOG.info("evaluation %s, attempt %s", held.deploy_id, held.attempt)
        turn_ends_at, turn_is_over = time.monotonic() + self._turn_s, False
        try:
            with self._lease_renewed(held), self._files(held) as (folder, env_folder):
                while not stop.is_set():
                    if not self._run_next(held, folder, env_folder, turn_is_over):
                        return True
                    turn_is_over = time.monotonic() >= turn_ends_at
            with self._transaction() as session:
                release(session, held)
        except ClaimLostError as error:
            _LOG.info("%s", error)
        except FilesUnavailableError as error:  # no fault of the evaluation: its lease should not expire
            _LOG.warning("%s", error)
            with suppress(ClaimLostError), self._transaction() as session:
                release(session, held)
            stop.wait(FILES_WAIT_S)
        return True

    def _run_next(self, held: Claim, folder: Path, env_folder: Path, turn_is_over: bool) -> bool:
        """Play the next run and store its outcome. Returns False if the evaluation has ended or must yield."""
        with self._transaction() as session:
            run = next_run(session, held)
            deploy = session.get_one(Deploy, held.deploy_id)
            if run is None or any(done.status == RunStatus.ERROR for done in deploy.runs):
                return not finish(session, held, self._services)
            if must_yield(session, held, turn_is_over=turn_is_over):
                release(session, held)
                return False
            task = _task(session, run, deploy)
        outcome = self._play(task, folder, env_folder)
        if run.kind == RunKind.FINAL:
            outcome = without_details(outcome)
        log = self._services.blobs.put(outcome.log.encode())
        with self._transaction() as session:
            record_run(session, held, run.id, outcome, log)
        return True

    def _play(self, task: "_Task", folder: Path, env_folder: Path) -> RunOutcome:
        """Play a run."""
        try:
            layers, env_layers, rival_layers = map(
                self._layers_with, (task.runtime, task.env_runtime, task.rival_runtime)
            )
        except (MissingRuntimeError, ArenaError) as error:
            return failed(Failure.CRASH, str(error), 0.0, 0, "", Blame.PLATFORM)
        seed, timeout_s, train_images = task.run.seed, task.timeout_s, self._services.settings.train_images
        if task.opponent is None:
            return play(task.kernel, folder, env_folder, seed, timeout_s, layers, train_images, env_layers)
        own = Contestant(folder, layers, agent_seed(seed, 0))
        rival = Contestant(self._opponent_files(task.opponent, folder.parent), rival_layers, agent_seed(seed, 1))
        limits = replace(Limits(), wall_s=timeout_s, start_s=min(Limits().start_s, timeout_s))
        first = moves_first(task.run.number)
        return play_match(own, rival, env_folder, env_layers, seed % 2**31, limits, moves_first=first)

    def _opponent_files(self, opponent: Deploy, parent: Path) -> Path:
        """Write the files of an opponent, once for each evaluation."""
        folder = parent / f"opponent-{opponent.id}"
        return folder if folder.exists() else self._write_files(folder, opponent.files)

    def _layers_with(self, runtime: Runtime | None) -> Layers:
        """Get the sandbox layers with the environment of a runtime.

        Raises:
            MissingRuntimeError: It is not on this machine.
            ArenaError: It was added on another machine, and its packages cannot be installed on this one.
        """
        if self._services.settings.is_shared:
            provide_environment(runtime, self._services.settings.data_dir)
        return replace(self._layers, environment=environment_of(runtime, self._services.settings.data_dir))

    @contextmanager
    def _files(self, held: Claim) -> Iterator[tuple[Path, Path]]:
        """Write the deployed files of the submission, and the files of the environment, to a temporary folder."""
        with self._services.database.transaction(read_only=True) as session:
            deploy = session.get_one(Deploy, held.deploy_id)
            competition_id = session.get_one(Agent, deploy.agent_id).competition_id
            env = {file.name: file.sha256 for file in competition_files(session, competition_id, FilePurpose.ENV)}
            own = dict(deploy.files)
        with tempfile.TemporaryDirectory(prefix="arena-") as name:
            Path(name).chmod(0o711)
            yield self._write_files(Path(name) / "agent", own), self._write_files(Path(name) / "env", env)

    def _write_files(self, folder: Path, files: Mapping[str, str]) -> Path:
        """Write files, given by path and SHA-256, so that every user can read them."""
        folder.mkdir()
        for path, sha256 in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._services.blobs.copy(sha256, target)
            target.chmod(0o644)
        for below in (folder, *(found for found in folder.rglob("*") if found.is_dir())):
            below.chmod(0o755)
        return folder

    @contextmanager
    def _lease_renewed(self, held: Claim) -> Iterator[None]:
        """Renew the lease in a thread while the block runs."""
        done = threading.Event()
        lease_s = self._services.settings.lease_s

        def renew_until_done() -> None:
            while not done.wait(lease_s / 3):
                try:
                    with self._transaction() as session:
                        renew(session, held, lease_s)
                except (ClaimLostError, ForbiddenError, UnauthorizedError):
                    return
                except Exception:  # the database may be unavailable: try again before the lease expires
                    _LOG.exception("a lease was not renewed")

        thread = threading.Thread(target=renew_until_done, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
