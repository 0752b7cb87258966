"""A server is there for as long as its process lives, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ml_trainer_env.server.store.presence import Presence

SERVER = """
import sys, time
from pathlib import Path
from ml_trainer_env.server.store.presence import Presence
presence = Presence(Path(sys.argv[1]))
print(presence.server, flush=True)
time.sleep(300)
"""


def test_a_server_is_alive_to_itself_and_to_others_until_it_stops(tmp_path: Path) -> None:
    one, other = Presence(tmp_path / "servers"), Presence(tmp_path / "servers")
    names = one.server, other.server

    assert [each.is_alive(name) for each in (one, other) for name in names] == [True] * 4
    one.close()
    assert not other.is_alive(names[0])
    assert other.is_alive(names[1])
    other.close()
    assert list((tmp_path / "servers").iterdir()) == []


def test_nothing_is_written_before_a_server_is_asked_for_its_name(tmp_path: Path) -> None:
    presence = Presence(tmp_path / "servers")
    presence.is_alive("nobody")
    presence.close()

    assert not (tmp_path / "servers").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_a_process_that_was_killed_is_gone_and_swept_away(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        watcher = Presence(tmp_path)
        was_alive = watcher.is_alive(name)
        watcher.sweep()
        was_kept = (tmp_path / name).exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    assert (was_alive, was_kept) == (True, True)
    assert not watcher.is_alive(name)
    watcher.sweep()
    assert not (tmp_path / name).exists()
