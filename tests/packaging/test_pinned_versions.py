"""The pins: one version of everything, the same for pip and for uv, from wherever a package comes."""

import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture
def pins(repository: Path) -> list[str]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_pip_and_uv_are_given_the_same_pins(pins: list[str], project: dict[str, Any]) -> None:
    assert pins == project["tool"]["uv"]["constraint-dependencies"]


def test_a_pin_is_a_name_and_a_version(pins: list[str]) -> None:
    # torch==2.15.0 also admits 2.15.0+cpu; a pin on a build ("+cu130") would tie everybody to it.
    odd = [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .*)?", pin)]

    assert odd == []


def test_every_dependency_is_pinned_within_its_bounds(pins: list[str], project: dict[str, Any]) -> None:
    pinned = {pin.split("==")[0]: pin.split(";")[0].split("==")[1].strip() for pin in pins}
    groups = project["dependency-groups"].values()

    for text in [*project["project"]["dependencies"], *(text for group in groups for text in group)]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text
