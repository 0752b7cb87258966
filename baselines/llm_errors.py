"""Errors of language models. Separate from the model's client, which is slow to import."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["KeyRefusedError", "LlmError", "ModelUnavailableError", "RequestRejectedError"]


class LlmError(MLTrainerError, RuntimeError):
    """The model gave no answer. The message is one line for users, without the key."""


class KeyRefusedError(LlmError):
    """The API refused the key."""


class RequestRejectedError(LlmError):
    """The API refused the request, or the account has no credit. A retry would not help."""


class ModelUnavailableError(LlmError):
    """Every attempt failed."""
