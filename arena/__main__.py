"""`python -m ml_trainer_env.arena`: the command `ml-arena`."""

import sys

from ml_trainer_env.arena.cli import main

sys.exit(main())
