"""The drawing of the modules in ARCHITECTURE.md is that of the imports."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_drawing_of_the_modules_is_that_of_the_imports() -> None:
    drawn = re.search(r"```mermaid\n(.*?)\n```", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.DOTALL)
    assert drawn is not None

    assert drawn[1] == runpy.run_path(str(ROOT / "scripts" / "draw_modules.py"))["drawing"]()
