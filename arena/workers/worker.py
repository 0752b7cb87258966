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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ml_trainer_env.arena.competitions.repository import competition_files
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.runtimes import MissingRuntimeError, default_runtime, environment_of
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Agent, Blame, Competition, Deploy, FilePurpose, RunKind, RunStatus, Runtime
from ml_trainer_env.arena.workers.finals import queue_finalist
from ml_trainer_env.arena.workers.outcomes import failed, without_details
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
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers

__all__ = ["Worker", "layers_for_submissions"]

_LOG = logging.getLogger(__name__)

POLL_S = 0.5
"""Interval at which an idle worker polls the queue."""

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
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"[:64]

    def work(self, stop: threading.Event) -> None:
        """Work until `stop` is set. The current run is finished; other workers continue with the evaluation."""
        while not stop.is_set():
            try:
                if not self.work_once(stop):
                    stop.wait(POLL_S)
            except Exception:  # the evaluation is claimed again when its lease expires
                _LOG.exception("an evaluation was dropped")
                stop.wait(POLL_S)

    def work_once(self, stop: threading.Event | None = None) -> bool:
        """Claim one evaluation and play it until it ends or must yield. Returns False if the queue is empty."""
        stop = stop or threading.Event()
        lease_s = self._services.settings.lease_s
        with self._services.database.transaction() as session:
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
            with self._services.database.transaction() as session:
                release(session, held)
        except ClaimLostError as error:
            _LOG.info("%s", error)
        return True

    def _run_next(self, held: Claim, folder: Path, env_folder: Path, turn_is_over: bool) -> bool:
        """Play the next run and store its outcome. Returns False if the evaluation has ended or must yield."""
        with self._services.database.transaction() as session:
            run = next_run(session, held)
            deploy = session.get_one(Deploy, held.deploy_id)
            if run is None or any(done.status == RunStatus.ERROR for done in deploy.runs):
                return not finish(session, held, self._services)
            if must_yield(session, held, turn_is_over=turn_is_over):
                release(session, held)
                return False
            agent = session.get_one(Agent, deploy.agent_id)
            competition = session.get_one(Competition, agent.competition_id)
            settings, kernel = settings_of(competition), Kernel(competition.kernel)
            runtime = session.get(Runtime, deploy.runtime_id) if deploy.runtime_id is not None else None
            env_runtime = default_runtime(session, settings.runtime) if settings.runtime else None
        train_images = self._services.settings.train_images
        try:
            layers, env_layers = self._layers_with(runtime), self._layers_with(env_runtime)
        except MissingRuntimeError as error:
            outcome = failed(Failure.CRASH, str(error), 0.0, 0, "", Blame.PLATFORM)
        else:
            timeout_s = settings.simulation_timeout_sec
            outcome = play(kernel, folder, env_folder, run.seed, timeout_s, layers, train_images, env_layers)
        if run.kind == RunKind.FINAL:
            outcome = without_details(outcome)
        log = self._services.blobs.put(outcome.log.encode())
        with self._services.database.transaction() as session:
            record_run(session, held, run.id, outcome, log)
        return True

    def _layers_with(self, runtime: Runtime | None) -> Layers:
        """Get the sandbox layers with the environment of a runtime.

        Raises:
            MissingRuntimeError: It is not on this machine.
        """
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
                    with self._services.database.transaction() as session:
                        renew(session, held, lease_s)
                except ClaimLostError:
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
