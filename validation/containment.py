"""Whether what solves a task can reach an agent: in the image, over HTTP, or in what the agent sees.

Two kinds of a solution's parts are looked for. A *word* is a text among the arguments of an oracle's calls that no
schema offers as a choice: a password, a patch, an answer. A *setting* is all arguments of one call together, where
there are two or more: each alone may be anywhere, all with these values are the solution.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from ml_trainer_env.validation.declarations import CallList

__all__ = ["Solution", "copied_into_image", "found_in_sandbox", "served_files", "solution_of"]

SHORTEST_WORD = 3
PLACES = ("/", "/static/", "/files/", "/web/", "/gradio_api/file=", "/web/gradio_api/file=", "/..%2f", "/static/..%2f")
"""Where a server that serves files by their path may serve a package's file."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The parts by which a solution is recognised.

    Attributes:
        words: Texts that only who knows the solution would say.
        settings: Arguments of a call, two or more.
    """

    words: frozenset[str]
    settings: tuple[Mapping[str, Any], ...]

    def without(self, known: frozenset[str]) -> "Solution":
        """Return the solution without words that are known to all."""
        return Solution(self.words - known, self.settings)

    def parts_in(self, value: object) -> list[str]:
        """Return the parts that a value of JSON contains, in words."""
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
        found = [f"the word {word!r}" for word in sorted(self.words) if _says(text, word)]
        for setting in self.settings:
            if any(setting.items() <= one.items() for one in _objects(value)) or _compact(setting) in _squeezed(text):
                found.append(f"the arguments {_compact(setting)[:120]}")
        return found

    def is_in_text(self, text: str) -> bool:
        """Whether a text contains all settings, or any word if there are none."""
        squeezed = _squeezed(text)
        if self.settings:
            return all(_compact(setting) in squeezed for setting in self.settings)
        return any(_says(text, word) for word in self.words)


def solution_of(oracle: CallList, tools: Sequence[Mapping[str, Any]] = ()) -> Solution:
    """Return the parts of an oracle by which it is recognised.

    Args:
        oracle: The list of calls.
        tools: The tools with their schemas, whose choices are no words of a solution.
    """
    offered = set(_texts(list(tools))) | set(_texts(dict(oracle.reset)))
    words, settings = set(), []
    for action in oracle.actions:
        arguments = action.get("arguments", {k: v for k, v in action.items() if k not in ("type", "tool_name")})
        said = _texts(list(arguments.values()))
        words |= {text for text in said if len(text) >= SHORTEST_WORD and text not in offered}
        if len(arguments) > 1:
            settings.append(arguments)
    return Solution(frozenset(words) - oracle.known, tuple(settings))


def copied_into_image(root: Path, dockerfile: str, context: str, files: Sequence[Path]) -> list[str]:
    """Return the files that the Dockerfile copies into the image, relative to the package.

    A file is copied if the build context contains it, which `.dockerignore` decides, and a COPY or ADD names it, its
    folder or a pattern of it.

    Args:
        root: The package's folder.
        dockerfile: The Dockerfile, relative to it.
        context: The folder of the build context, relative to it.
        files: The files to look for, inside the package.
    """
    base = (root / context).resolve()
    rules = _ignore_rules(root / dockerfile, base)
    sources = _copied_sources((root / dockerfile).read_text(encoding="utf-8"))
    found = []
    for file in files:
        if not file.resolve().is_relative_to(base):
            continue
        path = file.resolve().relative_to(base).as_posix()
        if not _is_ignored(path, rules) and any(_covers(source, path) for source in sources):
            found.append(path)
    return found


def served_files(base_url: str, headers: Mapping[str, str], files: Mapping[str, Solution]) -> tuple[int, list[str]]:
    """Ask a server for files by their paths. Returns the number of requests, and the paths that answer with a solution.

    Args:
        base_url: The server.
        headers: Headers of each request.
        files: The solution that each file contains, by its path in the package.
    """
    found, asked = [], 0
    with httpx.Client(trust_env=False, timeout=30.0, headers=dict(headers), follow_redirects=True) as http:
        for path, solution in files.items():
            for place in PLACES:
                asked += 1
                try:
                    response = http.get(f"{base_url.rstrip('/')}{place}{path}")
                except httpx.HTTPError:
                    continue
                if response.status_code == 200 and solution.is_in_text(response.text):
                    found.append(f"{place}{path}")
    return asked, found


def found_in_sandbox(running: Any, files: Mapping[str, Solution], limit_s: float = 60.0) -> list[str]:
    """Look for files inside a sandbox that can carry out commands. Returns the paths that contain a solution.

    Args:
        running: What the provider started, with a method `exec`.
        files: The solution that each file contains, by its path in the package.
        limit_s: Seconds for each command.
    """
    found = []
    for path, solution in files.items():
        name = shlex.quote(PurePosixPath(path).name)
        listed = running.exec(["sh", "-c", f"find / -xdev -type f -name {name} -size -1024k 2>/dev/null"], limit_s)
        for candidate in listed.stdout.split("\n")[:20]:
            if candidate and solution.is_in_text(running.exec(["cat", candidate], limit_s).stdout):
                found.append(candidate)
    return found


def _says(text: str, word: str) -> bool:
    escaped = json.dumps(word, ensure_ascii=False)[1:-1]
    return re.search(rf"(?<!\w){re.escape(escaped)}(?!\w)", text) is not None


def _texts(value: object) -> Iterator[str]:
    """All texts in a value of JSON, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield str(key)
            yield from _texts(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _texts(child)


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for child in value.values():
            yield from _objects(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _objects(child)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text.replace('\\"', '"'))


def _ignore_rules(dockerfile: Path, base: Path) -> list[tuple[bool, re.Pattern[str]]]:
    """The rules of .dockerignore: whether each excludes, and its pattern. Later ones win."""
    own = dockerfile.with_name(dockerfile.name + ".dockerignore")
    path = own if own.is_file() else base / ".dockerignore"
    if not path.is_file():
        return []
    rules = []
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if line and not line.startswith("#"):
            excludes = not line.startswith("!")
            rules.append((excludes, _pattern(line.removeprefix("!"))))
    return rules


def _pattern(text: str) -> re.Pattern[str]:
    """The pattern of a path, as Docker reads it: `*` stays in a folder, `**` crosses folders."""
    cleaned = text.strip().strip("/").removeprefix("./")
    parts = re.split(r"(\*\*/?|\*|\?)", cleaned)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")


def _is_ignored(path: str, rules: Sequence[tuple[bool, re.Pattern[str]]]) -> bool:
    ignored = False
    for excludes, pattern in rules:
        if pattern.fullmatch(path):
            ignored = excludes
    return ignored


def _copied_sources(dockerfile: str) -> list[str]:
    """The sources of COPY and ADD from the build context."""
    sources: list[str] = []
    for line in re.sub(r"\\\r?\n", " ", dockerfile).splitlines():
        words = line.split(maxsplit=1)
        if len(words) < 2 or words[0].upper() not in ("COPY", "ADD"):
            continue
        flags = re.match(r"(--\S+\s+)*", words[1])
        given = flags.group(0) if flags else ""
        if "--from=" not in given:
            rest = words[1][len(given) :].strip()
            names = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
            sources.extend(names[:-1])
    return sources


def _covers(source: str, path: str) -> bool:
    cleaned = source.strip("/").removeprefix("./")
    return cleaned in ("", ".") or _pattern(cleaned).fullmatch(path) is not None
