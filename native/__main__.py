"""Says which kernels compute epochs here: `python -m ml_trainer_env.native`."""

import sys

from ml_trainer_env.native.library import find_library

library = find_library()
sys.stdout.write(f"Epochs are computed by {library.name if library else 'torch: there are no native kernels'}.\n")
