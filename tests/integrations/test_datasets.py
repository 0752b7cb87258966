"""A data set that `ml-trainer-journal dataset` writes is loaded by the library `datasets`, by its card alone."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.commands.journal import main

JOURNAL = Path(__file__).parents[1] / "recordings" / "journal.sqlite3.gz"
EPISODES = 12


@pytest.mark.libraries
@pytest.mark.timeout(600)
def test_a_data_set_of_recorded_episodes_is_loaded_by_its_card(
    tmp_path: Path, library_environment: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(gzip.decompress(JOURNAL.read_bytes()))
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ML_TRAINER_DOWNLOAD", "no")
    folder = tmp_path / "set"
    assert main(["dataset", str(folder)]) == 0
    environment = library_environment("datasets", package=False)

    came = environment.run("read_dataset.py", str(folder), "ml_trainer_env", "named", HF_HOME=str(tmp_path / "cache"))

    assert came["configs"] == ["ml_trainer_env"]
    assert {"messages", "tools", "mask", "rewards", "identities"} <= set(came["columns"])
    assert len(came["episodes"]) == EPISODES
    assert any(came["trained_on"])
