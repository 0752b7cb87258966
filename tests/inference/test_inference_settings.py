"""Where the settings of a run come from, and which wins."""

import pytest

from ml_trainer_env.baselines.settings import Settings, SettingsError, read_settings


@pytest.fixture
def dotenv(tmp_path):
    def write(*lines):
        path = tmp_path / ".env"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def test_without_a_key_there_is_no_model(tmp_path):
    assert read_settings({}, tmp_path / ".env").llm is None


def test_a_key_brings_its_base_url_and_the_defaults():
    llm = read_settings({"OPENAI_API_KEY": "a"}).llm

    assert (llm.api_key, llm.base_url, llm.model) == ("a", "https://api.openai.com/v1", "gpt-4o-mini")
    assert (llm.rpm_limit, llm.max_retries, llm.reasoning_effort) == (5, 3, "minimal")
    assert dict(llm.max_steps) == {"easy": 5, "medium": 6, "hard": 7}


@pytest.mark.parametrize(
    ("names", "chosen", "base_url"),
    [
        (("OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY"), "OPENAI_API_KEY", "https://api.openai.com/v1"),
        (("OPENROUTER_API_KEY", "GEMINI_API_KEY"), "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        (("GEMINI_API_KEY",), "GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai/"),
    ],
)
def test_the_first_key_in_order_is_used_with_its_own_base_url(names, chosen, base_url):
    llm = read_settings({name: f"key of {name}" for name in names}).llm

    assert (llm.key_name, llm.api_key, llm.base_url) == (chosen, f"key of {chosen}", base_url)


def test_an_empty_key_counts_as_none():
    assert read_settings({"OPENAI_API_KEY": " ", "GEMINI_API_KEY": "g"}).llm.key_name == "GEMINI_API_KEY"


def test_the_base_url_can_be_overridden():
    llm = read_settings({"GEMINI_API_KEY": "g", "API_BASE_URL": "http://localhost:1/v1"}).llm

    assert llm.base_url == "http://localhost:1/v1"


def test_the_file_is_read(dotenv):
    path = dotenv("OPENAI_API_KEY=from-file", "MODEL_NAME=gpt-5-mini", "ENV_URL=http://host:8000/", "LLM_RPM_LIMIT=9")

    settings = read_settings({}, path)

    assert (settings.llm.api_key, settings.llm.model, settings.llm.rpm_limit) == ("from-file", "gpt-5-mini", 9)
    assert settings.env_url == "http://host:8000"


def test_the_environment_wins_over_the_file(dotenv):
    path = dotenv("OPENAI_API_KEY=from-file", "MODEL_NAME=from-file")

    llm = read_settings({"MODEL_NAME": "from-environment"}, path).llm

    assert (llm.api_key, llm.model) == ("from-file", "from-environment")


def test_an_empty_variable_in_the_environment_switches_the_files_key_off(dotenv):
    assert read_settings({"OPENAI_API_KEY": ""}, dotenv("OPENAI_API_KEY=from-file")).llm is None


def test_a_dollar_in_a_key_stays_as_it_is(dotenv):
    assert read_settings({}, dotenv("OPENAI_API_KEY='a${HOME}b'")).llm.api_key == "a${HOME}b"


@pytest.mark.parametrize(
    ("name", "value"),
    [("LLM_RPM_LIMIT", "0"), ("LLM_RPM_LIMIT", "many"), ("LLM_MAX_RETRIES", "-1"), ("LLM_MAX_STEPS_HARD", "0")],
)
def test_a_number_out_of_bounds_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        read_settings({"OPENAI_API_KEY": "a", name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_TOOL_CHOICE", "perhaps"),
        ("LLM_MAX_TOKENS", "0"),
        ("LLM_MAX_TOKENS", "1e3"),
        ("LLM_TIMEOUT_S", "0"),
        ("LLM_TIMEOUT_S", "nan"),
        ("LLM_TIMEOUT_S", "inf"),
        ("ENV_URL", "localhost:8000"),
        ("ENV_URL", "ftp://host"),
        ("ENV_URL", "http://host:port"),
        ("ENV_URL", "http://"),
        ("ML_TRAINER_TOKEN", "Schlüssel"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        read_settings({"OPENAI_API_KEY": "a", name: value})


def test_what_is_asked_of_the_model_can_be_set():
    variables = {"LLM_TOOL_CHOICE": "required", "LLM_MAX_TOKENS": "900", "LLM_TIMEOUT_S": "1800"}
    llm = read_settings({"OPENAI_API_KEY": "a", **variables}).llm

    assert (llm.tool_choice, llm.max_tokens, llm.timeout_s) == ("required", 900, 1800.0)


def test_a_slow_model_has_ten_minutes_unless_it_is_set():
    llm = read_settings({"OPENAI_API_KEY": "a"}).llm

    assert (llm.tool_choice, llm.max_tokens, llm.timeout_s) == ("", None, 600.0)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")

    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings({}, tmp_path / ".env")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000", "Bearer secret-of-the-server"),
        ("https://trainer.example.org", "Bearer secret-of-the-server"),
        ("https://me-trainer.hf.space", "Bearer hf_x"),
    ],
)
def test_a_server_gets_its_own_token_and_a_space_that_of_hugging_face(url, expected):
    settings = read_settings({"ENV_URL": url, "ML_TRAINER_TOKEN": "secret-of-the-server", "HF_TOKEN": "hf_x"})

    assert settings.env_headers == {"Authorization": expected}
    assert "secret-of-the-server" in settings.secrets
    assert "secret-of-the-server" not in repr(settings)


def test_a_token_that_is_off_is_none():
    assert read_settings({"ENV_URL": "http://localhost:1", "ML_TRAINER_TOKEN": "off"}).env_headers == {}


def test_the_token_of_hugging_face_goes_to_a_space_only():
    def headers(url):
        return Settings(env_url=url, hf_token="hf_x").env_headers

    assert headers("https://me-trainer.hf.space") == {"Authorization": "Bearer hf_x"}
    assert headers("http://me-trainer.hf.space") == {}
    assert headers("https://hf.space.example.org") == {}
    assert headers("http://localhost:8000") == {}


def test_secrets_are_not_in_the_repr():
    settings = read_settings({"OPENAI_API_KEY": "sk-secret", "HF_TOKEN": "hf_secret"})

    assert "secret" not in repr(settings)
    assert set(settings.secrets) == {"sk-secret", "hf_secret"}


def test_lines_for_the_server_are_handed_on(dotenv):
    settings = read_settings({}, dotenv("ML_TRAINER_DATA_DIR=/data", "OTHER=1"))

    assert dict(settings.server_variables) == {"ML_TRAINER_DATA_DIR": "/data"}
