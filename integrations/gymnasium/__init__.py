"""Gymnasium environments that play in this process. Importing this package registers them.

`gymnasium.make("MLTrainer-v0")` is the tuning game, `gymnasium.make("MLFleet-v0")` the fleet. The docstrings of
`tuning_env.TuningEnv` and `fleet_env.FleetEnv` are their pages.
"""

import gymnasium

__all__ = ["FLEET_ID", "TUNING_ID"]

TUNING_ID, FLEET_ID = "MLTrainer-v0", "MLFleet-v0"

_FOLDER = "ml_trainer_env.integrations.gymnasium"

if TUNING_ID not in gymnasium.registry:
    gymnasium.register(TUNING_ID, entry_point=f"{_FOLDER}.tuning_env:TuningEnv")
if FLEET_ID not in gymnasium.registry:
    gymnasium.register(FLEET_ID, entry_point=f"{_FOLDER}.fleet_env:FleetEnv")
