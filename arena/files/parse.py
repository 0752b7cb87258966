"""Parses a Python source, in a process of its own: `sources` runs this file, which imports nothing of ours.

Reads the source from standard input; writes JSON: `error`, and of each class its name, its methods, and whether it has
bases.
"""

import ast
import json
import resource
import sys

CPU_S = 3
MEMORY_BYTES = 2**30


def main() -> None:
    """Parse."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))  # at the first of the two by SIGXCPU
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    error, body = None, []
    try:
        body = ast.parse(sys.stdin.buffer.read()).body
    except SyntaxError as found:
        error = f"SyntaxError: {found.msg} (line {found.lineno})"
    except (ValueError, RecursionError, MemoryError) as found:
        error = f"{type(found).__name__}: {found}"
    classes = [_described(node) for node in body if isinstance(node, ast.ClassDef)]
    json.dump({"error": error, "classes": classes}, sys.stdout)


def _described(node: ast.ClassDef) -> dict[str, object]:
    methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {"name": node.name, "methods": methods, "has_bases": bool(node.bases)}


if __name__ == "__main__":
    main()
