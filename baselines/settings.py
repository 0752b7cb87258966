"""Settings of a run, read once from the environment and a `.env` file.

An environment variable has priority over the line of the same name in the file, also if the variable is empty. So
`OPENAI_API_KEY= uv run inference.py` ignores the key in `.env`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from ml_trainer_env.errors import MLTrainerError

__all__ = ["KEY_NAMES", "LlmSettings", "Settings", "SettingsError", "read_settings"]


@dataclass(frozen=True, slots=True)
class _Provider:
    key_name: str
    base_url: str
    model: str


_PROVIDERS = (
    _Provider("OPENAI_API_KEY", "https://api.openai.com/v1", "gpt-4o-mini"),
    _Provider("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1", "openai/gpt-4o-mini"),
    _Provider(
        "GEMINI_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        "gemini-2.5-flash",
    ),
)
"""Supported providers, in order of priority, each with its default model."""

KEY_NAMES = tuple(provider.key_name for provider in _PROVIDERS)
"""The variables that may contain a key, in order of priority."""

_SERVER_PREFIX = "ML_TRAINER_"


class SettingsError(MLTrainerError, ValueError):
    """A variable has an invalid value. The message names the variable."""


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """Address, model and limits of a language model.

    Attributes:
        api_key: The key. It is not part of `repr`.
        key_name: The variable that contains the key.
        base_url: Base URL of the API.
        model: Name of the model.
        rpm_limit: Maximum number of requests in any 60 seconds.
        max_retries: Maximum number of retries of one request.
        reasoning_effort: Reasoning effort for models that accept it; "" for none.
        max_steps: Number of decisions in an episode, by difficulty.
        fleet_steps: Number of decisions in an episode of the fleet.
        tool_choice: `auto` or `required`; "" to omit the parameter, which APIs treat as `auto`.
        max_tokens: Maximum number of tokens of an answer; None for the API's limit.
        timeout_s: Time limit of a request in seconds. A model on a local machine may take minutes.
        hybrid_share: Share of a sampler's proposals that the model sees in a hybrid search, 0 to 1.
    """

    api_key: str = field(repr=False)
    key_name: str
    base_url: str
    model: str
    rpm_limit: int = 5
    max_retries: int = 3
    reasoning_effort: str = "minimal"
    max_steps: Mapping[str, int] = field(default_factory=lambda: {"easy": 5, "medium": 6, "hard": 7})
    fleet_steps: int = 40
    tool_choice: str = ""
    max_tokens: int | None = None
    timeout_s: float = 600.0
    hybrid_share: float = 0.5

    def steps_for(self, difficulty: str) -> int:
        """Number of decisions for a difficulty. An unknown difficulty gets the maximum."""
        return self.max_steps.get(difficulty, max(self.max_steps.values()))


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a run.

    Attributes:
        llm: Settings of the language model; None if no key is set.
        env_url: URL of the environment server; "" to start a local one.
        hf_token: Token for a private Space; "" for none. It is not part of `repr`.
        env_token: Token of the server at `env_url`; "" for none. It is not part of `repr`.
        server_variables: Variables in `.env` for the environment server.
    """

    llm: LlmSettings | None = None
    env_url: str = ""
    hf_token: str = field(default="", repr=False)
    env_token: str = field(default="", repr=False)
    server_variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def env_headers(self) -> dict[str, str]:
        """Headers for the server at `env_url` only.

        A Space over https gets the Hugging Face token if there is one, because Hugging Face checks it. Every other
        server gets its own token.
        """
        parts = urlsplit(self.env_url)
        host = parts.hostname or ""
        is_space = parts.scheme == "https" and host.endswith(".hf.space")
        token = (self.hf_token if is_space else "") or self.env_token
        return {"Authorization": f"Bearer {token}"} if token and self.env_url else {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets. Logs must not contain them."""
        key = self.llm.api_key if self.llm else ""
        return tuple(secret for secret in (key, self.hf_token, self.env_token) if secret)


def read_settings(environ: Mapping[str, str], dotenv: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: Environment variables.
        dotenv: Path of a `.env` file, which may not exist.

    Raises:
        SettingsError: A variable has an invalid value, or the file cannot be read.
    """
    try:
        lines = dotenv_values(dotenv, interpolate=False) if dotenv and dotenv.exists() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{dotenv} cannot be read: {error}") from error
    in_file = {name: value for name, value in lines.items() if value is not None}
    values = {name: value.strip() for name, value in {**in_file, **environ}.items()}
    return Settings(
        llm=_llm(values),
        env_url=_address(values, "ENV_URL"),
        hf_token=values.get("HF_TOKEN", ""),
        env_token=_env_token(values),
        server_variables={name: value for name, value in in_file.items() if name.startswith(_SERVER_PREFIX)},
    )


def _llm(values: Mapping[str, str]) -> LlmSettings | None:
    provider = next((one for one in _PROVIDERS if values.get(one.key_name)), None)
    if provider is None:
        return None
    return LlmSettings(
        api_key=values[provider.key_name],
        key_name=provider.key_name,
        base_url=values.get("API_BASE_URL") or provider.base_url,
        model=values.get("MODEL_NAME") or provider.model,
        rpm_limit=_count(values, "LLM_RPM_LIMIT", 5, at_least=1),
        max_retries=_count(values, "LLM_MAX_RETRIES", 3, at_least=0),
        reasoning_effort=values.get("LLM_REASONING_EFFORT", "minimal"),
        tool_choice=_one_of(values, "LLM_TOOL_CHOICE", ("auto", "required")),
        max_tokens=_count(values, "LLM_MAX_TOKENS", 1, at_least=1) if values.get("LLM_MAX_TOKENS") else None,
        timeout_s=_seconds(values, "LLM_TIMEOUT_S", 600.0),
        hybrid_share=_share(values, "LLM_HYBRID_SHARE", 0.5),
        fleet_steps=_count(values, "LLM_MAX_STEPS_FLEET", 40, at_least=1),
        max_steps={
            "easy": _count(values, "LLM_MAX_STEPS_EASY", 5, at_least=1),
            "medium": _count(values, "LLM_MAX_STEPS_MEDIUM", 6, at_least=1),
            "hard": _count(values, "LLM_MAX_STEPS_HARD", 7, at_least=1),
        },
    )


def _address(values: Mapping[str, str], name: str) -> str:
    text = values.get(name, "").rstrip("/")
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port, or unbalanced brackets
        good = False
    if text and not good:
        raise SettingsError(f"{name} must be an address like http://localhost:8000, not {text!r}")
    return text


def _env_token(values: Mapping[str, str]) -> str:
    token = values.get("ML_TRAINER_TOKEN", "")
    if not token.isascii() or not token.isprintable():
        raise SettingsError("ML_TRAINER_TOKEN must be printable ASCII, since it travels in a header")
    return "" if token.lower() == "off" else token


def _one_of(values: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = values.get(name, "")
    if text and text not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text


def _seconds(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise SettingsError(f"{name} must be a number of seconds above 0, not {text!r}")
    return seconds


def _share(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name) or str(default)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise SettingsError(f"{name} must be a number from 0 to 1, not {text!r}")
    return share


def _count(values: Mapping[str, str], name: str, default: int, *, at_least: int) -> int:
    text = values.get(name) or str(default)
    try:
        number = int(text)
    except ValueError:
        number = at_least - 1
    if number < at_least:
        raise SettingsError(f"{name} must be a whole number of at least {at_least}, not {text!r}")
    return number
