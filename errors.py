"""The base class of the errors that this package raises."""

__all__ = ["MLTrainerError"]


class MLTrainerError(Exception):
    """Base class of the errors of `ml_trainer_env`. The message is for whoever called, and says what to do.

    The arena has a base of its own, `ml_trainer_env.arena.errors.ArenaError`.
    """
