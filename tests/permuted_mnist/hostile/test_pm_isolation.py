"""What a hostile agent cannot see and cannot reach."""

import ast
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile_agents import (
    LIMITS,
    Run,
    agent,
    needs_namespaces,
)

from permuted_mnist.evaluation.episode import run_episode
from permuted_mnist.evaluation.results import Failure
from permuted_mnist.sandbox.layers import find_layers
from permuted_mnist.tasks import PermutedTask


@needs_namespaces
def test_an_agent_sees_no_process_but_its_own(run: Run) -> None:
    look = f"""
        print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))
        for name in ('mem', 'environ', 'fd', 'maps'):
            try:
                print(open('/proc/{os.getpid()}/' + name, 'rb').read(10))
            except OSError as error:
                print(type(error).__name__)
        try:
            os.kill({os.getpid()}, 9)
        except OSError as error:
            print(type(error).__name__)
    """
    log = run(train=look).log.splitlines()

    assert log == ["[1, 2]", *["FileNotFoundError"] * 4, "ProcessLookupError"]


@needs_namespaces
def test_an_agent_sees_no_file_of_the_host(run: Run, tmp_path: Path) -> None:
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros(3))
    home = Path.home()
    look = f"""
        for path in {[str(labels), str(home / ".bashrc"), "/etc/passwd", "/etc/shadow", "/var", "/sys/fs"]}:
            print(path, os.path.exists(path))
        print(sorted(os.listdir('/')))
        print(sorted(os.listdir('/tmp')))
    """
    log = run(train=look).log

    assert "True" not in log
    assert log.count("False") == 6
    seen = set(ast.literal_eval(log.splitlines()[-1]))
    assert seen == {name for name in os.listdir("/tmp") if Path(sys.prefix).is_relative_to(f"/tmp/{name}")}


@needs_namespaces
def test_a_link_out_of_its_folder_leads_nowhere(ground: Path, task: PermutedTask, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("labels")
    folder = ground / "agent"
    folder.mkdir()
    (folder / "agent.py").write_text(agent(train="open(os.path.join(os.path.dirname(__file__), 'link')).read()"))
    (folder / "link").symlink_to(secret)

    result = run_episode(1, folder, task, LIMITS, find_layers(), 1)

    assert result.failure is Failure.CODE_ERROR
    assert "FileNotFoundError" in result.detail


@needs_namespaces
def test_an_agent_reaches_no_network(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run(train=f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=2)")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):  # whoever had come would be waiting
            server.accept()

    assert result.failure is Failure.CODE_ERROR
    assert "Address family not supported" in result.detail


@needs_namespaces
def test_an_agent_writes_to_its_scratch_folder_alone(run: Run) -> None:
    write = """
        own = os.path.dirname(os.path.abspath(__file__))
        for folder in ('.', own, '/', '/usr', '/dev', '/proc/sys/kernel', sys.prefix):
            try:
                open(os.path.join(folder, 'mine'), 'w')
                print('written', folder)
            except OSError as error:
                print(type(error).__name__)
        open(os.environ['TMPDIR'] + '/mine', 'w').write('mine')
        open('/dev/shm/mine', 'w').write('mine')
    """
    result = run(train=write)

    assert result.failure is None
    assert "written" not in result.log


@needs_namespaces
def test_an_agent_is_nobody_and_stays_so(run: Run) -> None:
    look = """
        import ctypes
        print(os.getuid(), os.geteuid(), os.getgroups())
        status = dict(line.split(':', 1) for line in open('/proc/self/status'))
        print(status['CapEff'].strip(), status['CapPrm'].strip(), status['NoNewPrivs'].strip())
        try:
            os.setuid(0)
        except OSError as error:
            print(type(error).__name__)
    """
    lines = run(train=look).log.splitlines()

    assert lines[0].startswith("65534 65534")
    assert lines[1] == "0000000000000000 0000000000000000 1"
    assert lines[2] in {"PermissionError", "OSError"}


def test_an_agent_holds_no_file_of_the_evaluator(run: Run) -> None:
    look = "print(sorted(int(name) for name in os.listdir('/proc/self/fd'))[:-1])"
    opened = run(source=agent(top=look, predict="return np.zeros(len(X), int)")).log

    assert len(opened.splitlines()[0].split(",")) == 4  # standard ones, and the channel


def test_an_agent_does_not_see_the_tests_images_before_it_is_trained(run: Run) -> None:
    maps = "len({line.split()[4] for line in open('/proc/self/maps') if 'memfd:arrays' in line})"
    predict = f"print(self.before, {maps}, X.shape); return np.zeros(len(X), int)"
    result = run(train=f"self.before = {maps}", predict=predict)

    assert result.failure is None
    assert result.log == "1 1 (200, 28, 28)\n"
