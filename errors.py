"""The errors of this package that its users meet, and the base class of all its errors."""

__all__ = ["CallTimeoutError", "EnvConnectionError", "MLTrainerError", "ResetRefusedError", "ToolCallError"]


class MLTrainerError(Exception):
    """Base class of the errors of `ml_trainer_env`. The message says what was expected, what came and what to do.

    The arena has a base class of its own, `ml_trainer_env.arena.errors.ArenaError`.
    """


class ToolCallError(MLTrainerError, RuntimeError):
    """A tool call was refused or failed. The message is the server's.

    Attributes:
        tool_name: The tool that was called.
    """

    def __init__(self, tool_name: str, message: str) -> None:
        super().__init__(message)
        self.tool_name = tool_name


class ResetRefusedError(MLTrainerError, RuntimeError):
    """The server refused a `reset` or a `resume`: it knows no such task, option or episode, or has no room.

    The message is the server's. The session keeps the episode that it had.
    """


class CallTimeoutError(MLTrainerError, TimeoutError):
    """The server did not answer in time. The call may still be running: `resume()` shows what came of it."""


class EnvConnectionError(MLTrainerError, ConnectionError):
    """There is no server at the address, it is not one of this environment, it refused the token, or it went away."""
