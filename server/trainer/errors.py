"""The trainer's error classes. Nothing else in this package raises errors of its own."""

__all__ = ["ConfigError", "TrainerError"]


class TrainerError(Exception):
    """Base class of everything the trainer raises on purpose."""


class ConfigError(TrainerError, ValueError):
    """A setting is out of bounds. The message names it, what came, and what is allowed."""
