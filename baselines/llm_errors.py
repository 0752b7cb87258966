"""Why a language model gave no answer. Apart from the model's client, which is slow to import."""

from ml_trainer_env.errors import MLTrainerError

__all__ = ["KeyRefusedError", "LlmError", "ModelUnavailableError", "RequestRejectedError"]


class LlmError(MLTrainerError, RuntimeError):
    """The model gave no answer. The text is one line, fit to be shown, without the key."""


class KeyRefusedError(LlmError):
    """The API does not accept the key."""


class RequestRejectedError(LlmError):
    """The API calls the request wrong, or wants money; asking again would not help."""


class ModelUnavailableError(LlmError):
    """Every attempt failed."""
