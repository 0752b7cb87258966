"""The collections that the tuning families draw from: images, tables, sequences and texts, bundled or generated.

`COLLECTIONS` says what there is, `fit_sizes` how many examples a choice of classes can serve, and `draw_examples`
returns the examples of a task. Needs NumPy alone.
"""

from ml_trainer_env.server.datasets.collections.catalogue import COLLECTIONS, find_collection
from ml_trainer_env.server.datasets.collections.draw import ExampleDraw, draw_examples, fit_sizes
from ml_trainer_env.server.datasets.collections.pools import load_pool
from ml_trainer_env.server.datasets.collections.values import Collection, Pool, SizeFloor

__all__ = [
    "COLLECTIONS",
    "Collection",
    "ExampleDraw",
    "Pool",
    "SizeFloor",
    "draw_examples",
    "find_collection",
    "fit_sizes",
    "load_pool",
]
