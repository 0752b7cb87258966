"""The trainer: a pure core that turns a training state into the next one.

Import what you need from the submodules: `config`, `limits`, `schedules` and `state` work
without torch; `engine`, `networks`, `data`, `augmentation` and `optimizers` need it.
"""

__all__ = ["PROBE"]

PROBE = "ml_trainer_env.server.trainer.probe:probe"
"""The probe of this engine, as an object reference: an executor runs it where jobs run."""
