"""`ml-trainer-measure`: when another evaluation batch is chosen, and where the setting is kept."""

import json
from pathlib import Path

import pytest

from ml_trainer_env.server.commands.measure import BATCHES, Round, choose_batch, main
from ml_trainer_env.server.settings import Settings, SettingsError
from ml_trainer_env.server.store import StoreError
from ml_trainer_env.server.store.measured import MEASURED_FILE, evaluation_batch, read_measured, write_measured


def times(**speeds: dict[int, float]) -> Round:
    """A round, from how many times as fast as the first each batch is; 1 if it is not named."""
    return {name: {batch: 0.1 / told.get(batch, 1.0) for batch in BATCHES} for name, told in speeds.items()}


def test_without_a_gain_the_first_batch_stays() -> None:
    assert choose_batch([times(mlp={}, cnn={})] * 5) == 64


def test_the_fastest_of_those_that_are_clearly_faster_is_chosen() -> None:
    assert choose_batch([times(mlp={128: 1.1, 256: 1.3, 512: 1.2}, cnn={128: 1.1, 256: 1.3, 512: 1.2})] * 5) == 256


def test_a_gain_that_half_of_the_rounds_have_is_not_clear() -> None:
    assert choose_batch([times(mlp={256: 1.5}), times(mlp={256: 0.9})] * 3) == 64


def test_a_batch_that_makes_a_network_slower_is_not_chosen() -> None:
    assert choose_batch([times(mlp={512: 3.0, 128: 1.1}, cnn={512: 0.9, 128: 1.1})] * 5) == 128


@pytest.mark.slow
def test_the_command_measures_shows_and_writes_what_the_server_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(tmp_path))

    assert main(["--rounds=2"]) == 0

    written = json.loads((tmp_path / MEASURED_FILE).read_text())
    output = capsys.readouterr().out
    assert written["evaluation_batch"] == read_measured(tmp_path)
    assert written["evaluation_batch"] in BATCHES
    assert written["rounds"] == 2
    for network in ("simple_mlp", "small_cnn", "deeper_cnn", "batch_norm_mlp"):
        assert output.count(f" {network} ") == len(BATCHES)


@pytest.mark.slow
def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(tmp_path))

    assert main(["--rounds=2", "--dry-run"]) == 0
    assert not list(tmp_path.iterdir())


def test_the_environment_goes_before_what_was_measured_and_that_before_64(tmp_path: Path) -> None:
    def chosen(**variables: str) -> int:
        return evaluation_batch(Settings.from_environment(variables).evaluation_batch, tmp_path)

    assert chosen() == 64
    write_measured(tmp_path, 256, {})
    assert chosen() == 256
    assert chosen(ML_TRAINER_EVALUATION_BATCH="128") == 128
    with pytest.raises(SettingsError, match="ML_TRAINER_EVALUATION_BATCH must be a whole number of at least 1"):
        chosen(ML_TRAINER_EVALUATION_BATCH="2.5")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"evaluation_batch": 0}', '{"evaluation_batch": true}'])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / MEASURED_FILE).write_text(text)

    with pytest.raises(StoreError, match="run ml-trainer-measure again, or delete the file"):
        read_measured(tmp_path)
