"""Draws which parts of the server import which, for ARCHITECTURE.md: `python scripts/draw_modules.py`.

The drawing is a Mermaid graph. It leaves out an arrow that follows from others: A to C where A leads to B and B to C.
"""

from collections.abc import Mapping

import grimp

__all__ = ["drawing"]

ROOT = "ml_trainer_env.server"
HIDDEN = {"app"}
"""Parts that import others only when they run."""


def drawing() -> str:
    """The graph, as Mermaid text."""
    edges = _reduced(_imports())
    lines = [f"    {part} --> {' & '.join(sorted(imported))}" for part, imported in sorted(edges.items()) if imported]
    return "\n".join(["graph TD", *lines])


def _imports() -> dict[str, set[str]]:
    """The parts that each part imports, other than for its types."""
    graph = grimp.build_graph("ml_trainer_env", exclude_type_checking_imports=True)
    names = {module.removeprefix(f"{ROOT}.") for module in graph.find_children(ROOT)} - HIDDEN
    found: dict[str, set[str]] = {}
    for name in names:
        whole = f"{ROOT}.{name}"
        modules = {whole, *graph.find_descendants(whole)}
        imported = {other for module in modules for other in graph.find_modules_directly_imported_by(module)}
        parts = {other.removeprefix(f"{ROOT}.").split(".")[0] for other in imported if other.startswith(f"{ROOT}.")}
        found[name] = (parts & names) - {name}
    return found


def _reduced(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others."""

    def reached(part: str) -> set[str]:
        return set().union(*({other} | reached(other) for other in edges[part]))

    return {
        part: {other for other in imported if not any(other in reached(third) for third in imported - {other})}
        for part, imported in edges.items()
    }


if __name__ == "__main__":
    print(drawing())
