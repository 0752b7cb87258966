"""What goes into an image and into a Space: the tracked files that are shipped, and nothing that lies beside them."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
ADDED_BY_OPENENV = b"ENV ENABLE_WEB_INTERFACE=true\n"
"""What `openenv push` writes into a Dockerfile that lacks it. Our server has its pages in any case."""
SPACE_FILES = {"Dockerfile", "server/Dockerfile", "validation/canaries.json", "validation/runtime.json"}
ORACLES = "validation/oracles/"

IN_EACH_FOLDER = (
    ".env", ".env.local", "credentials.json", "id_rsa", "server.pem", "notes.ipynb", "foo.sqlite", "local_secrets.py",
    "secrets.yaml", "token.txt",
)  # fmt: skip
ELSEWHERE = (
    "outputs/evals/run/report.html", "outputs/logs/run.jsonl", "data/mnist.npz", "data/.env", ".venv/bin/activate",
    ".ssh/id_ed25519", "node_modules/a/index.js", "uv.lock", "server/private/keys.py", "arena/pages/static/private.js",
)  # fmt: skip


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[str]:
    if not (repository / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git repository: nothing tells which files are tracked")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=repository, check=True, capture_output=True, text=True)
    return [path for path in listing.stdout.split("\0") if path and (repository / path).exists()]


@pytest.fixture(scope="module")
def planted(repository: Path, tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which secrets and litter lie in every folder, untracked."""
    clone = tmp_path_factory.mktemp("planted") / "ml_trainer_env"
    for path in tracked:
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / path, clone / path)
    subprocess.run("git init -q && git add --force .", shell=True, cwd=clone, check=True)
    folders = [clone, *(clone / parent for parent in {Path(path).parent for path in tracked})]
    for path in [
        *(folder / name for folder in folders for name in IN_EACH_FOLDER),
        *(clone / name for name in ELSEWHERE),
    ]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("SECRET = 'planted'\n")
    return clone


@pytest.fixture(scope="module")
def shipped(planted: Path) -> set[str]:
    """What the list of shipped files names. The list excludes everything else."""
    lines = (planted / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert all(rule.startswith("!") for rule in rules[1:])
    return {rule.removeprefix("!") for rule in rules[1:]}


def test_each_rule_after_the_first_names_one_file(shipped: set[str], planted: Path) -> None:
    # A folder or a wildcard would admit whatever lies there.
    assert {path for path in shipped if not (planted / path).is_file() or set(path) & set("*?[\\")} == set()


def test_only_tracked_files_are_shipped(shipped: set[str], tracked: list[str]) -> None:
    assert shipped <= set(tracked)


def test_the_generated_files_are_those_that_the_script_writes(planted: Path) -> None:
    # If this fails: make shipped, and commit what it wrote.
    generated = [".dockerignore", "server/Dockerfile"]
    before = {path: (planted / path).read_text(encoding="utf-8") for path in generated}

    subprocess.run([sys.executable, "scripts/shipped.py", "write"], cwd=planted, check=True)

    assert {path: (planted / path).read_text(encoding="utf-8") for path in generated} == before


def test_the_dockerfile_of_the_server_is_that_of_the_root(repository: Path) -> None:
    def instructions(path: str) -> list[str]:
        lines = (repository / path).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and (not line.startswith("#") or line.startswith("# syntax"))]

    assert instructions("server/Dockerfile") == instructions("Dockerfile")


@pytest.mark.slow
def test_a_builder_is_sent_the_listed_files_and_nothing_else(planted: Path, shipped: set[str], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "small").mkdir()
    (tmp_path / "small/file").touch()
    if (tried := sent_to_a_builder(tmp_path / "small", tmp_path)).returncode:
        pytest.skip(f"no image can be built here: {tried.stderr.strip()[-200:]}")

    built = sent_to_a_builder(planted, tmp_path)

    assert built.returncode == 0, built.stderr
    assert files_of(tmp_path / "sent" / planted.name) == shipped


def test_an_image_is_built_without_the_solutions_of_the_tasks(shipped: set[str], tracked: list[str]) -> None:
    solutions = {path for path in tracked if path.startswith("validation/") and not path.endswith(".py")}

    assert len(solutions) > 4
    assert solutions & shipped == set()


@pytest.mark.slow
def test_a_space_is_sent_the_listed_files_and_what_it_is_built_by(planted: Path, shipped: set[str], hub: "Hub") -> None:
    pushed = hub.run([sys.executable, "scripts/shipped.py", "push", "--repo-id", "someone/ml_trainer_env"], planted)

    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    oracles = {path for path in hub.received if path.startswith(ORACLES) and path.endswith((".json", ".jsonl"))}
    assert oracles
    assert set(hub.received) == shipped | SPACE_FILES | oracles
    assert not [path for path, content in hub.received.items() if b"planted" in content]
    sent = hub.received | {"Dockerfile": hub.received["Dockerfile"].replace(ADDED_BY_OPENENV, b"")}
    assert {path: (planted / path).read_bytes() for path in sent} == sent


@pytest.mark.slow
def test_a_space_of_the_fleet_has_its_manifest_oracles_and_command_and_none_of_the_other_game(
    planted: Path, shipped: set[str], hub: "Hub"
) -> None:
    command = [sys.executable, "scripts/shipped.py", "push", "--game", "fleet", "--repo-id", "someone/ml_trainer_env"]
    pushed = hub.run(command, planted)

    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    declared = {path.relative_to(planted / "fleet") for path in (planted / "fleet/validation").rglob("*.json")}
    declared = {path.as_posix() for path in declared if path.name != "credentials.json"}
    assert set(hub.received) == shipped | {"Dockerfile", "server/Dockerfile"} | declared
    for path in ("openenv.yaml", *declared):
        assert hub.received[path] == (planted / "fleet" / path).read_bytes()
    dockerfile = hub.received["Dockerfile"].replace(ADDED_BY_OPENENV, b"")
    assert dockerfile.splitlines()[-1].startswith(b'CMD ["python", "-m", "ml_trainer_env.server.fleet_app", "--host"')
    assert dockerfile.splitlines()[:-1] == (planted / "Dockerfile").read_bytes().splitlines()[:-1]
    assert b"title: ML Training Optimizer, the fleet\n" in hub.received["README.md"]


@pytest.mark.slow
def test_the_wheel_is_the_same_from_the_shipped_files_as_from_the_repository(
    planted: Path, shipped: set[str], source_copy: Path, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    for path in shipped:
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(planted / path, context / path)

    assert wheel_built_in(context, tmp_path / "from_context") == wheel_built_in(source_copy, tmp_path / "from_source")


class Hub(ThreadingHTTPServer):
    """The part of the Hugging Face Hub's API that an upload calls, on loopback.

    Attributes:
        received: The content of each file that was committed, by its path.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubRequest)
        self.received: dict[str, bytes] = {}

    def run(self, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a command that takes this for the Hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own = {"HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}", "HF_TOKEN": "hf_of_a_test", "NO_PROXY": "*"}
        home = {"HF_HOME": str(folder.parent / "huggingface"), "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            command, cwd=folder, env={**kept, **own, **home}, capture_output=True, text=True, check=False
        )


class HubRequest(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer({"name": "someone", "type": "user", "auth": {"type": "access_token"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                operation = json.loads(line)
                if operation["key"] == "file":
                    content = base64.b64decode(operation["value"]["content"])
                    self.server.received[operation["value"]["path"]] = content
            self._answer({"success": True, "commitUrl": f"{self._url}/commit/0", "commitOid": "0" * 40})
        else:
            self._answer({"url": self._url, "warnings": [], "errors": []})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/spaces/someone/ml_trainer_env"

    def _answer(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sent_to_a_builder(context: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the Dockerfile of a folder with a context. What was sent lies in `sent`, by the name of the context."""
    podman = shutil.which("podman")
    if podman is None:
        pytest.skip("podman is not installed")
    what = ["--output", f"type=local,dest={folder}/sent/{context.name}", "--file", f"{folder}/Dockerfile", str(context)]
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # podman wants a path of less than 50 characters
        storage = ["--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver", "vfs"]
        return subprocess.run([podman, *storage, "build", *what], capture_output=True, text=True, check=False)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def wheel_built_in(source: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=source, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    unpacked = folder / "unpacked"
    shutil.unpack_archive(next(folder.glob("*.whl")), unpacked, "zip")
    return {path: (unpacked / path).read_bytes() for path in files_of(unpacked)}
