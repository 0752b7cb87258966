"""Calls an entry: the main script of the process that a submission shares (see `entry.entry_command`).

`multiprocessing`, and joblib likewise, run the main script again, under the name `__mp_main__`, in each process of a
pool that is not forked (spawn, forkserver). There the submission's modules must be found by the names that they have
here, so that its functions can be unpickled.
"""

import importlib
import os
import sys
from pathlib import Path

FOLDER_VARIABLE = "SUBMISSION_FOLDER"
"""Names the variable with the submission's folder, for the processes of pools."""


def main() -> None:
    """Call the entry that the first argument names."""
    module, _, function = sys.argv.pop(1).partition(":")
    getattr(importlib.import_module(f"inside.{module}"), function)()


if __name__ in ("__main__", "__mp_main__"):
    program = str(Path(__file__).parents[1])
    sys.path.insert(0, program)
    if __name__ == "__main__":
        main()
    else:
        from inside.loading import open_package

        open_package(Path(os.environ[FOLDER_VARIABLE]))
        sys.path.remove(program)
