"""The server's settings. They are environment variables, read once at the entry point."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.datasets import DataSettings
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.executors.on_ray.address import DEFAULT_ADDRESS, RayAddressError, check_address
from ml_trainer_env.server.security import Access, AccessError
from ml_trainer_env.server.store.folder import configured_database, configured_states
from ml_trainer_env.server.trainer.kinds import Device, Kernels, Precision
from ml_trainer_env.server.tuning.grading import RubricVersion

__all__ = ["ExecutorKind", "RankedSettings", "Settings", "SettingsError"]

_TORCH_THREADS = 2
_IDLE_MARGIN_S = 60.0

MIN_SECRET_LENGTH = 16
"""Shortest secret of a ranked server. Replies tell values that are drawn with it, so a guess can be tested."""


Choice = TypeVar("Choice", bound=StrEnum)


class SettingsError(MLTrainerError, ValueError):
    """An environment variable has an invalid value. The message names the variable."""


class ExecutorKind(StrEnum):
    """Where the workers of a server run."""

    POOL = "pool"
    """In processes of the server's machine."""
    RAY = "ray"
    """In actors of a Ray cluster."""


@dataclass(frozen=True, slots=True)
class RankedSettings:
    """Settings of a ranked server; see `tuning.families.ranked`.

    Attributes:
        secret: Decides which tasks the server has.
        count: Limit for the number of tasks. None for all.
        table: A file of calibrated tasks. None for the split `test`.
    """

    secret: str = field(repr=False)
    count: int | None = None
    table: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the server. The variable and its default are in parentheses.

    Attributes:
        workers: Number of workers (ML_TRAINER_WORKERS; half the cores).
        torch_threads: Number of threads of each worker (ML_TRAINER_TORCH_THREADS; 2). It changes the bits of results.
        max_sessions: Limit for the number of sessions (ML_TRAINER_MAX_SESSIONS; 256). It holds for each game, and for
            OpenEnv's sessions and those of MCP clients apart.
        session_timeout_s: Idle seconds after which a session ends (ML_TRAINER_SESSION_TIMEOUT_S; 3600). It is always
            longer than the longest call.
        limits: Time limits in seconds of an epoch (ML_TRAINER_EPOCH_TIMEOUT_S; 120) and of a call
            (ML_TRAINER_CALL_TIMEOUT_S; 900).
        data: The data directory (ML_TRAINER_DATA_DIR; none), whether to download into it (ML_TRAINER_DOWNLOAD; yes),
            and the time limit in seconds (ML_TRAINER_DOWNLOAD_TIMEOUT_S; 300).
        rubric: The default rubric (ML_TRAINER_RUBRIC; v1).
        state_dir: The folder of episodes and models (ML_TRAINER_STATE_DIR; the user's state folder).
        database_url: PostgreSQL database of the journal, `postgresql://...` (ML_TRAINER_DATABASE_URL; none: a SQLite
            file in the state folder).
        states_url: Place of the stored models, a folder or `s3://bucket/prefix` (ML_TRAINER_STATES_URL; none: a folder
            in the state folder).
        state_mb: Size limit for stored models, in MB (ML_TRAINER_STATE_MB; 4096).
        cache: Whether results of epochs are reused (ML_TRAINER_CACHE; yes).
        worker_memory_mb: Limit for the memory of a worker, in MB (ML_TRAINER_WORKER_MEMORY_MB; 4096).
        evaluation_batch: Number of examples evaluated together (ML_TRAINER_EVALUATION_BATCH; that of
            `ml-trainer-measure`, or 64). It changes the last digits of losses.
        kernels: What computes epochs, `auto`, `native` or `torch` (ML_TRAINER_KERNELS; auto). It changes the bits of
            results.
        precision: What PyTorch computes epochs in, `fp32` or `bf16` (ML_TRAINER_PRECISION; fp32). bf16 is for
            processors that have instructions for it, and leaves the native kernels aside.
        device: Where epochs are computed, `cpu` or `cuda` (ML_TRAINER_DEVICE; cpu). It changes the bits of results.
        ranked: The secret of a ranked server (ML_TRAINER_RANKED; none: not ranked), its number of tasks
            (ML_TRAINER_RANKED_TASKS; all), and a table of calibrated tasks in place of the split `test`
            (ML_TRAINER_RANKED_TABLE; none).
        results_dir: The folder whose runs the training room lists (ML_TRAINER_RESULTS_DIR; `outputs`, where the server
            was started).
        executor: Where the workers run, `pool` or `ray` (ML_TRAINER_EXECUTOR; pool).
        ray_address: Host and port of the head of the Ray cluster (ML_TRAINER_RAY_ADDRESS; 127.0.0.1:6379). One off
            loopback is refused without RAY_AUTH_MODE=token.
        access: The token (ML_TRAINER_TOKEN; none: this machine only), that of observers, who may read the training room
            (ML_TRAINER_OBSERVER_TOKEN; none), that of operators, who may also move episodes
            (ML_TRAINER_OPERATOR_TOKEN; none), and the hosts and origins, separated by commas
            (ML_TRAINER_ALLOWED_HOSTS, ML_TRAINER_ALLOWED_ORIGINS; none). A Space on Hugging Face has SPACE_HOST.
    """

    workers: int
    torch_threads: int
    max_sessions: int
    session_timeout_s: float
    limits: TimeLimits
    data: DataSettings
    rubric: RubricVersion
    state_dir: Path | None
    state_mb: int
    cache: bool
    worker_memory_mb: int
    access: Access
    evaluation_batch: int | None = None
    kernels: Kernels = Kernels.AUTO
    precision: Precision = Precision.FP32
    device: Device = Device.CPU
    ranked: RankedSettings | None = None
    results_dir: Path = Path("outputs")
    database_url: str | None = field(default=None, repr=False)
    states_url: str | None = None
    executor: ExecutorKind = ExecutorKind.POOL
    ray_address: str = DEFAULT_ADDRESS

    def options(self, evaluation_batch: int) -> dict[str, int | str]:
        """Return the options of the executor's jobs. They are part of the identity."""
        return {
            "evaluation_batch": evaluation_batch,
            "kernels": self.kernels.value,
            "precision": self.precision.value,
            "device": self.device.value,
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            SettingsError: A variable has an invalid value.
        """
        read = _Reader(environment)
        limits = TimeLimits(
            unit_s=read.number("EPOCH_TIMEOUT_S", 120.0, least=1.0),
            call_s=read.number("CALL_TIMEOUT_S", 900.0, least=1.0),
        )
        idle_s = read.number("SESSION_TIMEOUT_S", 3600.0, least=1.0)
        read.check_kernels()
        return cls(
            workers=read.whole("WORKERS", max(1, _cores() // _TORCH_THREADS)),
            torch_threads=read.whole("TORCH_THREADS", _TORCH_THREADS),
            max_sessions=read.whole("MAX_SESSIONS", 256),
            session_timeout_s=max(idle_s, limits.call_s + _IDLE_MARGIN_S),
            limits=limits,
            data=DataSettings(
                data_dir=read.path("DATA_DIR"),
                download=read.flag("DOWNLOAD", True),
                download_timeout_s=read.number("DOWNLOAD_TIMEOUT_S", 300.0, least=1.0),
            ),
            rubric=read.one_of("RUBRIC", RubricVersion.V1),
            state_dir=read.path("STATE_DIR"),
            state_mb=read.whole("STATE_MB", 4096),
            cache=read.flag("CACHE", True),
            worker_memory_mb=read.whole("WORKER_MEMORY_MB", 4096),
            access=read.access(),
            evaluation_batch=read.optional_whole("EVALUATION_BATCH"),
            kernels=read.one_of("KERNELS", Kernels.AUTO),
            precision=read.one_of("PRECISION", Precision.FP32),
            device=read.one_of("DEVICE", Device.CPU),
            ranked=read.ranked(),
            results_dir=read.path("RESULTS_DIR") or Path("outputs"),
            database_url=configured_database(environment),
            states_url=configured_states(environment),
            executor=read.one_of("EXECUTOR", ExecutorKind.POOL),
            ray_address=read.ray_address("RAY_ADDRESS"),
        )


class _Reader:
    """Reads variables that begin with ML_TRAINER_."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def check_kernels(self) -> None:
        """Check that the native kernels are not asked for where they cannot compute."""
        others = (
            self.one_of("PRECISION", Precision.FP32) is Precision.BF16,
            self.one_of("DEVICE", Device.CPU) is Device.CUDA,
        )
        if self.one_of("KERNELS", Kernels.AUTO) is Kernels.NATIVE and any(others):
            raise SettingsError(
                "ML_TRAINER_KERNELS=native computes in fp32 on the processor; leave it out for bf16 or cuda"
            )

    def number(self, name: str, default: float, least: float) -> float:
        text = self._text(name)
        try:
            value = float(text) if text else float(default)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            raise SettingsError(f"ML_TRAINER_{name} must be a number of at least {least:g}, got {text!r}")
        return value

    def whole(self, name: str, default: int) -> int:
        value = self.number(name, default, least=1)
        if value != int(value):
            raise SettingsError(f"ML_TRAINER_{name} must be a whole number of at least 1, got {self._text(name)!r}")
        return int(value)

    def optional_whole(self, name: str) -> int | None:
        return self.whole(name, 1) if self._text(name) else None

    def flag(self, name: str, default: bool) -> bool:
        text = self._text(name).lower()
        if text in {"", "1", "true", "yes", "on", "0", "false", "no", "off"}:
            return text in {"1", "true", "yes", "on"} if text else default
        raise SettingsError(f"ML_TRAINER_{name} must be true or false, got {text!r}")

    def path(self, name: str) -> Path | None:
        text = self._text(name)
        return Path(text).expanduser() if text else None

    def one_of(self, name: str, default: Choice) -> Choice:
        text, choices = self._text(name), type(default)
        if text and text not in set(choices):
            raise SettingsError(f"ML_TRAINER_{name} must be one of {', '.join(choices)}, got {text!r}")
        return choices(text) if text else default

    def ray_address(self, name: str) -> str:
        try:
            return check_address(self._text(name) or DEFAULT_ADDRESS, self._environment)
        except RayAddressError as error:
            raise SettingsError(f"ML_TRAINER_{name} {error}") from None

    def ranked(self) -> RankedSettings | None:
        secret = self._text("RANKED")
        if not secret:
            return None
        if len(secret) < MIN_SECRET_LENGTH or not re.fullmatch(r"[!-~]+", secret):
            raise SettingsError(
                f"ML_TRAINER_RANKED must be a secret of at least {MIN_SECRET_LENGTH} visible ASCII characters, without "
                f"blanks; got {len(secret)} characters"
            )
        return RankedSettings(secret, self.optional_whole("RANKED_TASKS"), self.path("RANKED_TABLE"))

    def access(self) -> Access:
        try:
            return Access.of(
                self._text("TOKEN"),
                self._list("ALLOWED_HOSTS"),
                self._list("ALLOWED_ORIGINS"),
                self._environment.get("SPACE_HOST", "").strip(),
                self._text("OBSERVER_TOKEN"),
                self._text("OPERATOR_TOKEN"),
            )
        except AccessError as error:
            raise SettingsError(str(error)) from None

    def _list(self, name: str) -> list[str]:
        return [part for part in map(str.strip, self._text(name).split(",")) if part]

    def _text(self, name: str) -> str:
        return self._environment.get(f"ML_TRAINER_{name}", "").strip()


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
