"""What people have as files to upload: single files, folders and zip archives, each with its path in the submission."""

import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_trainer_env.arena.client.errors import SubmissionError
from ml_trainer_env.arena.client.uploads import existing

__all__ = ["Upload", "collect"]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to upload.

    Attributes:
        path: Its path in the submission.
        file: Where it is.
    """

    path: str
    file: Path


def collect(paths: str | Path | Sequence[str | Path]) -> list[Upload]:
    """List the files to upload.

    A single file is uploaded under its name. A folder keeps the paths of its files: a folder with an agent.py is the
    submission itself, and any other keeps its own name, too. Hidden files and `__pycache__` are left out. The service
    unpacks a .zip archive and keeps the paths in it.

    Args:
        paths: A file, a folder or an archive, or several of them.

    Raises:
        SubmissionError: One does not exist or has no files, an archive is damaged, or two files have the same path in
            the submission.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    uploads = [upload for path in given for upload in _uploads(Path(path))]
    if not uploads:
        raise SubmissionError("there are no files to submit")
    _require_distinct(path for upload in uploads for path in _paths(upload))
    return uploads


def _uploads(path: Path) -> Iterator[Upload]:
    if not path.is_dir():
        yield Upload(path.name, existing(path, SubmissionError))
        return
    folder = path.resolve()
    base = folder if (folder / "agent.py").is_file() else folder.parent
    found = {file: file.relative_to(base) for file in sorted(folder.rglob("*")) if file.is_file()}
    kept = {file: inner for file, inner in found.items() if not any(map(_is_left_out, inner.parts))}
    if not kept:
        raise SubmissionError(f"there are no files in {path}")
    for file, inner in kept.items():
        yield Upload(inner.as_posix(), file)


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _paths(upload: Upload) -> Iterable[str]:
    """List the paths that a file has in the submission. Only a .zip archive may have several."""
    if upload.file.suffix.lower() != ".zip":
        return [upload.path]
    try:
        with zipfile.ZipFile(upload.file) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SubmissionError(f"{upload.file} is no zip archive, or is damaged: {error}") from error


def _require_distinct(paths: Iterable[str]) -> None:
    known: dict[str, str] = {}
    for path in paths:
        key = unicodedata.normalize("NFKC", path).casefold()
        if key in known:
            raise SubmissionError(
                f"two files would be called {path}. Give the folders that they are in, or a .zip archive: both keep "
                'paths, as in files=["agent.py", "models", "utils"]'
                if known[key] == path
                else f"{known[key]} and {path} would be the same file on some systems: rename one of them"
            )
        known[key] = path
