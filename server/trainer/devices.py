"""Where tensors live, and the settings of a GPU under which equal jobs give equal bits."""

import os
from collections.abc import Mapping

import torch

from ml_trainer_env.server.trainer.errors import DeviceError
from ml_trainer_env.server.trainer.kinds import Device

__all__ = ["CPU", "device_facts", "opened_device"]

CPU = torch.device("cpu")


def opened_device(wanted: Device) -> torch.device:
    """Return a device that is ready. A GPU computes with deterministic algorithms, and without TF32, from then on.

    cuBLAS is deterministic with a workspace of a fixed size, which it reads from the environment when it starts
    (https://docs.nvidia.com/cuda/cublas/#results-reproducibility).

    Args:
        wanted: Where to compute.

    Raises:
        DeviceError: There is no such device.
    """
    if wanted is Device.CUDA:
        if not torch.cuda.is_available():
            raise DeviceError("there is no GPU that this build of torch can use; ML_TRAINER_DEVICE=cpu needs none")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
    return torch.device(wanted.value)


def device_facts(device: torch.device) -> Mapping[str, str]:
    """Return what results on a device depend on besides versions of packages. They are part of the identity."""
    if device.type == Device.CPU:
        return {}
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "gpu": torch.cuda.get_device_name(device),
        "gpu_capability": f"{major}.{minor}",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "tf32": str(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
    }
