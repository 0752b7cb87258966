"""The tables of river (BSD), scikit-learn (BSD) and modeldata (MIT), and the small digits of scikit-learn."""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable

import numpy as np

from .pack import Arrays, finish, standardise
from .packages import Packages
from .r_data import Frame, read_frame

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


def breast_cancer(packages: Packages) -> Arrays:
    """Measures of cell nuclei, malignant or benign."""
    content = packages.read("scikit-learn", "sklearn/datasets/data/breast_cancer.csv").decode()
    return table([line.split(",") for line in content.splitlines()[1:]], lambda row: int(row[-1]))


def small_digits(packages: Packages) -> Arrays:
    """Handwritten digits of 8 x 8 pixels of 17 levels."""
    content = gzip.decompress(packages.read("scikit-learn", "sklearn/datasets/data/digits.csv.gz")).decode()
    rows = np.array([line.split(",") for line in content.splitlines()], np.float64)
    images = np.minimum(rows[:, :-1] * 16, 255).astype(np.uint8).reshape(-1, 8, 8)
    return finish(images, rows[:, -1])


def cells(packages: Packages) -> Arrays:
    """Measures of cells under a microscope, poorly or well segmented; skewed ones as logarithms."""
    frame = read_modeldata(packages, "cells")
    names = [name for name in frame if name not in ("case", "class")]
    return finish(standardise(tame([frame[name] for name in names])), frame["class"] == "WS")


def jobs(packages: Packages) -> Arrays:
    """Jobs of a computing cluster; the class is how long they took: very fast, fast, moderate, long."""
    frame = read_modeldata(packages, "hpc_data")
    numbers = ["compounds", "input_fields", "iterations", "num_pending", "hour"]
    columns = [
        *tame([frame[name] for name in numbers]).T,
        *one_hot(frame["protocol"]),
        *one_hot(frame["day"]),
    ]
    labels = np.array([["VF", "F", "M", "L"].index(name) for name in frame["class"]])
    return finish(standardise(np.stack(columns, axis=1)), labels)


def churn(packages: Packages) -> Arrays:
    """Customers of a telephone company who stay or leave. The numbers are made up after real ones."""
    frame = read_modeldata(packages, "mlc_churn")
    numbers = [name for name in frame if name.startswith(("total_", "number_")) or name == "account_length"]
    columns = [frame[name] for name in numbers]
    columns += [(frame[name] == "yes").astype(float) for name in ("international_plan", "voice_mail_plan")]
    labels = frame["churn"] == "yes"
    stay = np.flatnonzero(~labels)[:2_000]
    kept = np.sort(np.concatenate([stay, np.flatnonzero(labels)]))
    return finish(standardise(np.stack(columns, axis=1)[kept]), labels[kept])


TABLES: dict[str, Callable[[Packages], Arrays]] = {
    "segment": segment,
    "phishing": phishing,
    "shuttle": shuttle,
    "banana": banana,
    "breast_cancer": breast_cancer,
    "small_digits": small_digits,
    "cells": cells,
    "jobs": jobs,
    "churn": churn,
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


def read_modeldata(packages: Packages, name: str) -> Frame:
    """Returns a data frame of the R package modeldata."""
    folder = "usr/lib/R/site-library/modeldata/data"
    index, base = (packages.read("r-cran-modeldata", f"{folder}/Rdata.{kind}") for kind in ("rdx", "rdb"))
    return read_frame(index, base, name)


def tame(columns: list[np.ndarray]) -> np.ndarray:
    """Returns columns side by side, those with a long tail of positive numbers as logarithms."""
    tamed = [
        np.log1p(column) if column.min() >= 0 and column.max() > 10 * np.median(column) else column
        for column in columns
    ]
    return np.stack(tamed, axis=1)


def one_hot(names: np.ndarray) -> list[np.ndarray]:
    """Returns a column of 0 and 1 for each name, in alphabetical order."""
    return [(names == name).astype(float) for name in sorted(set(names.tolist()))]
