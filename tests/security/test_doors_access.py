"""The rules of who may come in, as they are written in environment variables."""

import pytest

from ml_trainer_env.server.security import Access
from ml_trainer_env.server.settings import Settings, SettingsError

SECRET = "s3cret-s3cret-s3cret"


def access_of(**variables: str) -> Access:
    return Settings.from_environment({f"ML_TRAINER_{name}": text for name, text in variables.items()}).access


def test_without_any_setting_there_is_no_token_and_only_this_machine_comes_in() -> None:
    assert access_of() == Access(token=None, open_to_all=False)


def test_a_token_is_taken_as_it_is() -> None:
    assert access_of(TOKEN=f" {SECRET}\n").token == SECRET


@pytest.mark.parametrize("text", ["off", "OFF", " Off "])
def test_off_lets_everybody_in(text: str) -> None:
    assert access_of(TOKEN=text) == Access(open_to_all=True)


@pytest.mark.parametrize("text", ["short", "fifteen-letters", "with a blank in it", "\N{SNOWMAN}" * 20, "none"])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(SettingsError, match="ML_TRAINER_TOKEN must be `off` or a secret of at least 16") as refusal:
        access_of(TOKEN=text)

    assert text not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_no_setting_shows_the_token() -> None:
    settings = Settings.from_environment({"ML_TRAINER_TOKEN": SECRET})

    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.access)


def test_hosts_and_origins_are_lists() -> None:
    access = access_of(ALLOWED_HOSTS="Example.org, 10.0.0.1,[::1],", ALLOWED_ORIGINS="https://a.b:8443, http://C.d")

    assert access.allowed_hosts == {"example.org", "10.0.0.1", "[::1]"}
    assert access.allowed_origins == {"https://a.b:8443", "http://c.d"}


@pytest.mark.parametrize("text", ["example.org:8000", "http://example.org", "*", "a b", "ex@mple"])
def test_a_host_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="ML_TRAINER_ALLOWED_HOSTS must be") as refusal:
        access_of(ALLOWED_HOSTS=text)

    assert text in str(refusal.value)


@pytest.mark.parametrize("text", ["example.org", "ftp://example.org", "https://example.org/", "*", "null", "https://"])
def test_an_origin_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="ML_TRAINER_ALLOWED_ORIGINS must be") as refusal:
        access_of(ALLOWED_ORIGINS=text)

    assert text in str(refusal.value)


def test_an_observers_token_is_another_secret_and_is_never_shown() -> None:
    watcher = f"{SECRET}-of-watchers"
    settings = Settings.from_environment({"ML_TRAINER_TOKEN": SECRET, "ML_TRAINER_OBSERVER_TOKEN": watcher})

    assert settings.access.observer_token == watcher
    assert watcher not in repr(settings)
    with pytest.raises(SettingsError, match="ML_TRAINER_OBSERVER_TOKEN must differ from ML_TRAINER_TOKEN"):
        access_of(TOKEN=SECRET, OBSERVER_TOKEN=SECRET)
    with pytest.raises(SettingsError, match="ML_TRAINER_OBSERVER_TOKEN must be a secret of at least 16"):
        access_of(OBSERVER_TOKEN="off")


def test_an_operators_token_is_a_third_secret_and_is_never_shown() -> None:
    operator = f"{SECRET}-of-operators"
    settings = Settings.from_environment({"ML_TRAINER_TOKEN": SECRET, "ML_TRAINER_OPERATOR_TOKEN": operator})

    assert settings.access.operator_token == operator
    assert operator not in repr(settings)
    for other in ("TOKEN", "OBSERVER_TOKEN"):
        with pytest.raises(SettingsError, match=f"ML_TRAINER_OPERATOR_TOKEN must differ from ML_TRAINER_{other}"):
            access_of(**{other: SECRET, "OPERATOR_TOKEN": SECRET})
    with pytest.raises(SettingsError, match="ML_TRAINER_OPERATOR_TOKEN must be a secret of at least 16"):
        access_of(OPERATOR_TOKEN="off")
