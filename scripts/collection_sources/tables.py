"""The tables: of river (BSD), scikit-learn (BSD) and modeldata (MIT)."""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable

import numpy as np

from .pack import Arrays, finish, standardise
from .packages import Packages

Rows = list[list[str]]


def segment(packages: Packages) -> Arrays:
    """Outdoor pictures' patches of 3 x 3 pixels, 7 kinds of surface."""
    rows = read_csv(packages.read("river", "river/datasets/segment.csv.zip"))
    classes = ["brickface", "sky", "foliage", "cement", "window", "path", "grass"]
    return table(rows, lambda row: classes.index(row[-1]))


def phishing(packages: Packages) -> Arrays:
    """Features of web pages, honest or phishing."""
    return table(read_csv(packages.read("river", "river/datasets/phishing.csv.gz")), lambda row: int(row[-1]))


def shuttle(packages: Packages) -> Arrays:
    """Readings of a space shuttle's sensors, usual or not: all unusual ones, and the first 5,000 usual ones."""
    rows = read_csv(packages.read("river", "river/datasets/shuttle.csv.gz"))
    usual = [row for row in rows if row[-1] == "0"][:5_000]
    return table(usual + [row for row in rows if row[-1] == "1"], lambda row: int(row[-1]))


def banana(packages: Packages) -> Arrays:
    """Points of two interlocked clouds."""
    with zipfile.ZipFile(io.BytesIO(packages.read("river", "river/datasets/banana.zip"))) as archive:
        lines = archive.read("banana.all.txt").decode().splitlines()
    rows = [[*(field.partition(":")[2] for field in line.split()[1:]), line.split()[0]] for line in lines]
    return table(rows, lambda row: int(row[-1] == "1"))


TABLES: dict[str, Callable[[Packages], Arrays]] = {
    "segment": segment,
    "phishing": phishing,
    "shuttle": shuttle,
    "banana": banana,
}


def table(rows: Rows, label: Callable[[list[str]], int]) -> Arrays:
    """Returns the arrays of rows of numbers, the last column of which says the class."""
    inputs = np.array([[float(cell) for cell in row[:-1]] for row in rows])
    return finish(standardise(inputs), np.array([label(row) for row in rows]))


def read_csv(content: bytes) -> Rows:
    """Returns the rows of a CSV file, compressed as gzip or ZIP, without its header."""
    if content[:2] == b"\x1f\x8b":
        text = gzip.decompress(content)
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read(archive.namelist()[0])
    return list(csv.reader(io.StringIO(text.decode())))[1:]
