"""The settings: what holds where nothing is said, and that a bad value is named."""

import os
from pathlib import Path

import pytest

from ml_trainer_env.server.settings import Settings, SettingsError
from ml_trainer_env.server.tuning.grading import RubricVersion


def test_every_setting_has_a_default() -> None:
    settings = Settings.from_environment({})

    assert settings.workers == max(1, len(os.sched_getaffinity(0)) // 2)
    assert settings.torch_threads == 2
    assert settings.max_sessions == 256
    assert settings.session_timeout_s == 3600.0
    assert (settings.limits.unit_s, settings.limits.call_s) == (120.0, 900.0)
    assert (settings.data.data_dir, settings.data.download) == (None, True)
    assert settings.data.download_timeout_s == 300.0
    assert settings.rubric is RubricVersion.V1


def test_every_setting_is_read_from_its_variable() -> None:
    settings = Settings.from_environment(
        {
            "ML_TRAINER_WORKERS": "3",
            "ML_TRAINER_TORCH_THREADS": "4",
            "ML_TRAINER_MAX_SESSIONS": "5",
            "ML_TRAINER_SESSION_TIMEOUT_S": "700.5",
            "ML_TRAINER_EPOCH_TIMEOUT_S": "60",
            "ML_TRAINER_CALL_TIMEOUT_S": "600",
            "ML_TRAINER_DATA_DIR": "/some/where",
            "ML_TRAINER_DOWNLOAD": "no",
            "ML_TRAINER_DOWNLOAD_TIMEOUT_S": "30",
            "ML_TRAINER_RUBRIC": "v2",
        }
    )

    assert (settings.workers, settings.torch_threads, settings.max_sessions) == (3, 4, 5)
    assert settings.session_timeout_s == 700.5
    assert (settings.limits.unit_s, settings.limits.call_s) == (60.0, 600.0)
    assert (settings.data.data_dir, settings.data.download) == (Path("/some/where"), False)
    assert settings.data.download_timeout_s == 30.0
    assert settings.rubric is RubricVersion.V2


def test_an_empty_variable_counts_as_unset() -> None:
    names = ("WORKERS", "SESSION_TIMEOUT_S", "DATA_DIR", "DOWNLOAD", "RUBRIC")

    assert Settings.from_environment({f"ML_TRAINER_{name}": " " for name in names}) == Settings.from_environment({})


@pytest.mark.parametrize(("text", "flag"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("off", False)])
def test_a_flag_is_read_in_any_of_the_usual_words(text: str, flag: bool) -> None:
    assert Settings.from_environment({"ML_TRAINER_DOWNLOAD": text}).data.download is flag


def test_the_home_directory_may_be_written_short() -> None:
    settings = Settings.from_environment({"ML_TRAINER_DATA_DIR": "~/images"})

    assert settings.data.data_dir == Path.home() / "images"


@pytest.mark.parametrize(("idle", "call"), [("1", "900"), ("3600", "7200"), ("100", "50"), ("59", "1")])
def test_a_session_outlives_the_longest_call_by_a_minute_whatever_is_set(idle: str, call: str) -> None:
    settings = Settings.from_environment({"ML_TRAINER_SESSION_TIMEOUT_S": idle, "ML_TRAINER_CALL_TIMEOUT_S": call})

    assert settings.session_timeout_s >= settings.limits.call_s + 60.0
    assert settings.session_timeout_s >= float(idle)


NUMBERS = ("WORKERS", "TORCH_THREADS", "MAX_SESSIONS", "SESSION_TIMEOUT_S", "EPOCH_TIMEOUT_S", "CALL_TIMEOUT_S")


@pytest.mark.parametrize("name", [*NUMBERS, "DOWNLOAD_TIMEOUT_S"])
@pytest.mark.parametrize("text", ["0", "-1", "many", "nan", "inf", "1e999"])
def test_a_number_that_is_none_or_too_low_is_named_with_what_came(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"ML_TRAINER_{name} must be a number of at least 1, got '{text}'"):
        Settings.from_environment({f"ML_TRAINER_{name}": text})


@pytest.mark.parametrize("name", ["WORKERS", "TORCH_THREADS", "MAX_SESSIONS"])
def test_a_count_that_is_not_whole_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"ML_TRAINER_{name}"):
        Settings.from_environment({f"ML_TRAINER_{name}": "2.5"})


def test_a_flag_that_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(SettingsError, match="ML_TRAINER_DOWNLOAD must be true or false, got 'perhaps'"):
        Settings.from_environment({"ML_TRAINER_DOWNLOAD": "perhaps"})


def test_a_rubric_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="ML_TRAINER_RUBRIC must be one of v1, v2, v3, accuracy, got 'v9'"):
        Settings.from_environment({"ML_TRAINER_RUBRIC": "v9"})
