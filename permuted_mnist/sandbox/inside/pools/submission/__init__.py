"""The package of a submission's files, for processes of its pools.

A process that `multiprocessing` or joblib spawns receives the module search path and unpickles functions by the names
of their modules. The modules of a submission are `submission.agent` and so on (see `loading`). This package lets such a
process import them.
"""

import os

FOLDER_VARIABLE = "SUBMISSION_FOLDER"
"""The environment variable that names the submission's folder."""

__path__ = [os.environ[FOLDER_VARIABLE]] if FOLDER_VARIABLE in os.environ else []
