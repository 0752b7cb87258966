"""The trainer: pure functions that compute the next training state.

`config`, `limits`, `schedules` and `state` do not import torch. `engine`, `networks`, `data`, `augmentation`,
`optimizers` and the learners do. A learner is torch's or calls `native/`.
"""

__all__ = ["PROBE"]

PROBE = "ml_trainer_env.server.trainer.probe:probe"
"""Object reference of this engine's probe. An executor calls it where jobs run."""
