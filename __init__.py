"""ML Training Optimizer: an OpenEnv environment in which agents train real PyTorch models on a budget.

Public names load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml_trainer_env.openenv_on_demand import install

if TYPE_CHECKING:
    from ml_trainer_env.client import MlTrainerAction, MLTrainerEnv, MlTrainerEnv, MlTrainerObservation
    from ml_trainer_env.errors import (
        CallTimeoutError,
        EnvConnectionError,
        MissingLibraryError,
        MLTrainerError,
        ResetRefusedError,
        ToolCallError,
    )
    from ml_trainer_env.fleet_client import FleetEnv
    from ml_trainer_env.fleet_models import FleetObservation, FleetState, FleetStatus, FleetTaskDescription
    from ml_trainer_env.models import MLTrainerState, ResetObservation, TaskDescription, TrainingStatus

__all__ = [
    "CallTimeoutError",
    "EnvConnectionError",
    "FleetEnv",
    "FleetObservation",
    "FleetState",
    "FleetStatus",
    "FleetTaskDescription",
    "MLTrainerEnv",
    "MLTrainerError",
    "MLTrainerState",
    "MissingLibraryError",
    "MlTrainerAction",
    "MlTrainerEnv",
    "MlTrainerObservation",
    "ResetObservation",
    "ResetRefusedError",
    "TaskDescription",
    "ToolCallError",
    "TrainingStatus",
]

_HOMES = {
    "client": ("MLTrainerEnv", "MlTrainerAction", "MlTrainerEnv", "MlTrainerObservation"),
    "errors": (
        "CallTimeoutError",
        "EnvConnectionError",
        "MLTrainerError",
        "MissingLibraryError",
        "ResetRefusedError",
        "ToolCallError",
    ),
    "fleet_client": ("FleetEnv",),
    "fleet_models": ("FleetObservation", "FleetState", "FleetStatus", "FleetTaskDescription"),
    "models": ("MLTrainerState", "ResetObservation", "TaskDescription", "TrainingStatus"),
}


install()  # before any module of this package imports OpenEnv


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ml_trainer_env.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
