"""Says which kernels compute epochs here: `python -m ml_trainer_env.native`."""

from ml_trainer_env.native.library import find_library

library = find_library()
print(f"Epochs are computed by the kernels {library.name}." if library else "No native kernels: torch computes epochs.")
