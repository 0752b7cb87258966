"""A worker: takes evaluations one after the other, for as long as it lives.

While it plays, a thread renews the lease. What is cancelled, or taken by another after this worker was thought dead, is
noticed at the next renewal or write, and left alone.
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
from pathlib import Path

from ml_trainer_env.arena.competitions.repository import competition_files
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Agent, Competition, Deploy, FilePurpose, RunKind, RunStatus
from ml_trainer_env.arena.workers.finals import seat_a_finalist
from ml_trainer_env.arena.workers.outcomes import withheld
from ml_trainer_env.arena.workers.play import play
from ml_trainer_env.arena.workers.queue import (
    Claim,
    LostError,
    claim,
    finish,
    has_to_wait,
    next_run,
    record_run,
    release,
    renew,
)
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import Layers, find_layers

__all__ = ["Worker", "layers_for_submissions"]

_LOG = logging.getLogger(__name__)

POLL_S = 0.5
"""An idle worker looks into the queue so often."""

TURN_S = 60.0
"""An evaluation is played for so long, and for a run at least, before it stands back for those of other users."""


def layers_for_submissions() -> Layers:
    """What holds submissions here; what is weaker than it could be is logged.

    Raises:
        UnsupportedError: They could reach the network, or what the service keeps.
    """
    layers = find_layers()
    if layers.bubblewrap is None:
        raise UnsupportedError(f"submissions could read what the service keeps: {' '.join(layers.missing)}")
    for weakness in layers.missing:
        _LOG.warning("%s", weakness)
    return layers


class Worker:
    """Works off the queue.

    Args:
        services: The parts of the service.
        layers: What holds submissions.
        turn_s: How long an evaluation is played while those of other users wait.
    """

    def __init__(self, services: Services, layers: Layers, turn_s: float = TURN_S) -> None:
        self._services = services
        self._layers = layers
        self._turn_s = turn_s
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"[:64]

    def work(self, stop: threading.Event) -> None:
        """Work until told to stop; the evaluation in hand is left to others then, after the run being played."""
        while not stop.is_set():
            try:
                if not self.work_once(stop):
                    stop.wait(POLL_S)
            except Exception:  # a worker goes on: what it held is claimed again when its lease runs out
                _LOG.exception("an evaluation was dropped")
                stop.wait(POLL_S)

    def work_once(self, stop: threading.Event | None = None) -> bool:
        """Take one evaluation and play it to its end, or until others go first; False if there is none."""
        stop = stop or threading.Event()
        lease_s = self._services.settings.lease_s
        with self._services.database.transaction() as session:
            held = claim(session, self.name, lease_s)
            if held is None and seat_a_finalist(session, self._services):
                held = claim(session, self.name, lease_s)
        if held is None:
            return False
        _LOG.info("evaluation %s, attempt %s", held.deploy_id, held.attempt)
        turn_ends_at, turn_is_over = time.monotonic() + self._turn_s, False
        try:
            with self._renewed(held), self._files(held) as (folder, env_folder):
                while not stop.is_set():
                    if not self._run_next(held, folder, env_folder, turn_is_over):
                        return True
                    turn_is_over = time.monotonic() >= turn_ends_at
            with self._services.database.transaction() as session:
                release(session, held)
        except LostError as error:
            _LOG.info("%s", error)
        return True

    def _run_next(self, held: Claim, folder: Path, env_folder: Path, turn_is_over: bool) -> bool:
        """Play the next run and write it down; False if the evaluation is over, or stands back for another."""
        with self._services.database.transaction() as session:
            run = next_run(session, held)
            deploy = session.get_one(Deploy, held.deploy_id)
            if run is None or any(done.status == RunStatus.ERROR for done in deploy.runs):
                return not finish(session, held, self._services)
            if has_to_wait(session, held, turn_is_over=turn_is_over):
                release(session, held)
                return False
            agent = session.get_one(Agent, deploy.agent_id)
            competition = session.get_one(Competition, agent.competition_id)
            timeout_s, kernel = settings_of(competition).simulation_timeout_sec, Kernel(competition.kernel)
        train_images = self._services.settings.train_images
        outcome = play(kernel, folder, env_folder, run.seed, timeout_s, self._layers, train_images)
        if run.kind == RunKind.FINAL:
            outcome = withheld(outcome)
        log = self._services.blobs.put(outcome.log.encode())
        with self._services.database.transaction() as session:
            record_run(session, held, run.id, outcome, log)
        return True

    @contextmanager
    def _files(self, held: Claim) -> Iterator[tuple[Path, Path]]:
        """The submission's files as they were when it was deployed, and the environment's."""
        with self._services.database.transaction(read_only=True) as session:
            deploy = session.get_one(Deploy, held.deploy_id)
            competition_id = session.get_one(Agent, deploy.agent_id).competition_id
            env = {file.name: file.sha256 for file in competition_files(session, competition_id, FilePurpose.ENV)}
            own = dict(deploy.files)
        with tempfile.TemporaryDirectory(prefix="arena-") as name:
            Path(name).chmod(0o711)
            yield self._laid_out(Path(name) / "agent", own), self._laid_out(Path(name) / "env", env)

    def _laid_out(self, folder: Path, files: Mapping[str, str]) -> Path:
        folder.mkdir()
        folder.chmod(0o755)
        for file, sha256 in files.items():
            self._services.blobs.copy(sha256, folder / file)
            (folder / file).chmod(0o644)
        return folder

    @contextmanager
    def _renewed(self, held: Claim) -> Iterator[None]:
        """Keeps the lease while it lasts."""
        done = threading.Event()
        lease_s = self._services.settings.lease_s

        def keep() -> None:
            while not done.wait(lease_s / 3):
                try:
                    with self._services.database.transaction() as session:
                        renew(session, held, lease_s)
                except LostError:
                    return
                except Exception:  # the database was away: it is tried again, and the lease may outlast that
                    _LOG.exception("a lease was not renewed")

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
