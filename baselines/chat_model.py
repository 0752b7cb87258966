"""A language model behind an OpenAI-compatible API. Sends a request and retries it until it is answered.

The `openai` client does not retry, so that each attempt passes the rate limiter.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from ml_trainer_env.baselines.llm_errors import (
    KeyRefusedError,
    LlmError,
    ModelUnavailableError,
    RequestRejectedError,
)
from ml_trainer_env.baselines.rate_limit import RateLimiter
from ml_trainer_env.baselines.reasoning import effort_for
from ml_trainer_env.baselines.retries import backoff_s, retry_after_s
from ml_trainer_env.baselines.run_log import Record, record_nothing
from ml_trainer_env.baselines.settings import LlmSettings

__all__ = [
    "ChatModel",
    "Completion",
    "KeyRefusedError",
    "LlmError",
    "Message",
    "ModelUnavailableError",
    "RequestRejectedError",
    "ToolCall",
]

Message = dict[str, Any]
"""A message of the chat completions API."""

CONNECT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the model wrote it. `arguments` should be JSON, but may be invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer: text, calls or both, and the tokens used."""

    text: str
    calls: tuple[ToolCall, ...]
    prompt_tokens: int
    completion_tokens: int


class _AttemptFailedError(Exception):
    def __init__(self, reason: str, wait_s: float | None, *, rate_limited: bool) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.rate_limited = rate_limited


class ChatModel:
    """Asks a language model for its next message. A context manager that closes the connections.

    Args:
        settings: Address, model and limits.
        record: Records a `completion` or a `retry` for each attempt, and each `wait` for the rate limiter.
        limiter: Rate limiter; a new one if None.
        sleep: Waits a number of seconds.
        clock: Returns seconds since 1970.
    """

    def __init__(
        self,
        settings: LlmSettings,
        record: Record = record_nothing,
        *,
        limiter: RateLimiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tokens_spent = 0
        self._settings = settings
        self._effort = effort_for(settings.model, settings.reasoning_effort)
        self._limit_name = "max_tokens"
        self._record = record
        self._limiter = limiter or RateLimiter(settings.rpm_limit, on_wait=self._note_wait)
        self._sleep = sleep
        self._clock = clock
        self._client = openai.OpenAI(
            api_key=settings.api_key,
            base_url=settings.base_url,
            max_retries=0,
            timeout=openai.Timeout(settings.timeout_s, connect=min(CONNECT_TIMEOUT_S, settings.timeout_s)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    @property
    def host(self) -> str:
        """Host of the API, for messages."""
        return urlsplit(self._settings.base_url).netloc or self._settings.base_url

    def complete(self, messages: Sequence[Message], tools: Sequence[Message]) -> Completion:
        """Ask for the next message.

        Args:
            messages: The conversation so far.
            tools: Definitions of the functions that the model may call.

        Raises:
            KeyRefusedError: The API refused the key (HTTP 401 or 403).
            RequestRejectedError: The API refused the request, and a retry cannot succeed (other 4xx).
            ModelUnavailableError: All attempts failed.
        """
        attempts = self._settings.max_retries + 1
        for attempt in range(1, attempts + 1):
            try:
                return self._attempt(messages, tools, attempt)
            except _AttemptFailedError as failure:
                reason, wait_s = str(failure), failure.wait_s
                if wait_s is None:
                    wait_s = backoff_s(attempt, rate_limited=failure.rate_limited)
            last = attempt == attempts
            self._record(
                "retry",
                {"attempt": attempt, "reason": reason, "wait_s": 0.0 if last else wait_s},
            )
            if not last:
                self._sleep(wait_s)
        raise ModelUnavailableError(f"{self.host} gave no answer in {attempts} attempts; the last: {reason}")

    def _attempt(self, messages: Sequence[Message], tools: Sequence[Message], attempt: int) -> Completion:
        started = self._clock()
        try:
            with self._limiter.request():
                answer = self._request(messages, tools)
        except openai.APIStatusError as error:
            raise self._classify_error(error) from error
        except openai.APITimeoutError as error:
            reason = f"it gave no answer in {self._settings.timeout_s:g} s (LLM_TIMEOUT_S)"
            raise _AttemptFailedError(reason, None, rate_limited=False) from error
        except openai.APIConnectionError as error:
            reason = f"the connection failed ({type(error.__cause__ or error).__name__})"
            raise _AttemptFailedError(reason, None, rate_limited=False) from error
        except (openai.APIError, ValueError) as error:
            reason = f"its answer could not be read ({type(error).__name__})"
            raise _AttemptFailedError(reason, None, rate_limited=False) from error
        completion = _parse_completion(answer)
        self.tokens_spent += completion.prompt_tokens + completion.completion_tokens
        self._record(
            "completion",
            {
                "model": self._settings.model,
                "attempt": attempt,
                "prompt_tokens": completion.prompt_tokens,
                "completion_tokens": completion.completion_tokens,
                "seconds": round(self._clock() - started, 3),
            },
        )
        return completion

    def _request(self, messages: Sequence[Message], tools: Sequence[Message]) -> object:
        request: dict[str, Any] = {
            "model": self._settings.model,
            "messages": list(messages),
            "tools": list(tools),
        }
        if self._effort is not None:
            request["reasoning_effort"] = self._effort
        if self._settings.tool_choice and tools:
            request["tool_choice"] = self._settings.tool_choice
        if self._settings.max_tokens is not None:
            request[self._limit_name] = self._settings.max_tokens
        answer: object = self._client.chat.completions.create(**request)
        return answer

    def _classify_error(self, error: openai.APIStatusError) -> Exception:
        """Convert an error of the API: to an error to raise, or to a failed attempt that is retried."""
        status = error.status_code
        said = self._error_message(error)
        if status in (401, 403) or "api key not valid" in said.lower():
            return KeyRefusedError(f"{self.host} refused the key in {self._settings.key_name} (HTTP {status})")
        if status == 400 and self._effort is not None and "reasoning" in said.lower():
            self._effort = None
            return _AttemptFailedError("it does not take reasoning_effort", 0.0, rate_limited=False)
        if status == 400 and self._limit_name == "max_tokens" and "max_completion_tokens" in said:
            self._limit_name = "max_completion_tokens"  # what OpenAI's reasoning models call it
            return _AttemptFailedError("it does not take max_tokens", 0.0, rate_limited=False)
        spent = status == 429 and error.code == "insufficient_quota"
        if spent or (status < 500 and status not in (408, 409, 429)):
            return RequestRejectedError(f"{self.host} rejected the request (HTTP {status}): {said}")
        wait_s = retry_after_s(error.response.headers, self._clock())
        return _AttemptFailedError(f"HTTP {status}", wait_s, rate_limited=status == 429)

    def _note_wait(self, seconds: float) -> None:
        self._record("wait", {"reason": f"{self._settings.rpm_limit} requests a minute", "wait_s": seconds})

    def _error_message(self, error: openai.APIStatusError) -> str:
        """Get the API's error message, on one line and without the key."""
        body = error.body
        said = body.get("message") if isinstance(body, Mapping) else None
        line = " ".join(str(said or error.message).split())
        return line.replace(self._settings.api_key, "***")[:300]


def _parse_completion(answer: object) -> Completion:
    # Some providers report a failure as HTTP 200 without choices, or as text.
    if not isinstance(answer, ChatCompletion) or not answer.choices:
        raise _AttemptFailedError("it answered without a message", None, rate_limited=False)
    message = answer.choices[0].message
    return Completion(
        text=message.content or "",
        calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments or "")
            for call in message.tool_calls or ()
            if call.type == "function"
        ),
        prompt_tokens=answer.usage.prompt_tokens if answer.usage else 0,
        completion_tokens=answer.usage.completion_tokens if answer.usage else 0,
    )
