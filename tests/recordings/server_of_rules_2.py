"""Starts a server whose new episodes have rules 2, like those that were recorded. Takes the arguments of the server."""

import sys

from ml_trainer_env.server.app import main
from ml_trainer_env.server.tuning import game
from ml_trainer_env.server.tuning.rules import RULES

if __name__ == "__main__":
    game.CURRENT_RULES = RULES[2]
    sys.exit(main())
