"""The package whose modules are a submission's files, as the processes of its pools import it.

A process that `multiprocessing` spawns, or joblib, is told the module search path and unpickles functions by the names
of their modules. The submission's are `submission.agent` and so on (see `loading`); without this package no such
process could find them.
"""

import os

FOLDER_VARIABLE = "SUBMISSION_FOLDER"
"""The environment variable that names the submission's folder."""

__path__ = [os.environ[FOLDER_VARIABLE]] if FOLDER_VARIABLE in os.environ else []
