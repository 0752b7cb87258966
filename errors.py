"""The public errors of this package, and their base class."""

__all__ = [
    "CallTimeoutError",
    "EnvConnectionError",
    "MLTrainerError",
    "MissingLibraryError",
    "ResetRefusedError",
    "ToolCallError",
]


class MLTrainerError(Exception):
    """Base class of the errors of `ml_trainer_env`. A message says what was expected, what came and what to do.

    The arena has its own base class, `ml_trainer_env.arena.errors.ArenaError`.
    """


class ToolCallError(MLTrainerError, RuntimeError):
    """A tool call was refused or failed. The message is the server's.

    Attributes:
        tool_name: Name of the tool.
    """

    def __init__(self, tool_name: str, message: str) -> None:
        super().__init__(message)
        self.tool_name = tool_name


class ResetRefusedError(MLTrainerError, RuntimeError):
    """The server refused a `reset` or a `resume`. The task, an option or the episode is unknown, or the server is full.

    The message is the server's. The session keeps its previous episode.
    """


class CallTimeoutError(MLTrainerError, TimeoutError):
    """The server did not answer in time. The call may still be running; `resume()` returns its reply."""


class EnvConnectionError(MLTrainerError, ConnectionError):
    """No server answers, it serves another environment, it refused the token, or the connection was lost."""


class MissingLibraryError(MLTrainerError, ImportError):
    """An adapter of `ml_trainer_env.integrations` needs a library that is not installed. The message names it."""
