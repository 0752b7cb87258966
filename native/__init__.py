"""Optional kernels in C++ for perceptrons and CNNs, of images and of sequences. Torch is not imported.

`library.py` finds the library that was compiled for this processor and calls it. Where there is none, torch computes.
"""

from ml_trainer_env.native.library import Function, Kind, Library, Network, Shape, find_library, processor_flags

__all__ = ["Function", "Kind", "Library", "Network", "Shape", "find_library", "processor_flags"]
