"""Parses Python source in a separate process. `sources` runs this file as a script. It needs only the standard library.

Reads the source from standard input. Writes JSON: `error`, for each class its name, its methods, and whether it has
base classes, and the names of the functions.
"""

import ast
import json
import resource
import sys

CPU_S = 3
MEMORY_BYTES = 2**30


def main() -> None:
    """Parse standard input."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))  # the soft limit sends SIGXCPU
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    error, body = None, []
    try:
        body = ast.parse(sys.stdin.buffer.read()).body
    except SyntaxError as found:
        error = f"SyntaxError: {found.msg} (line {found.lineno})"
    except (ValueError, RecursionError, MemoryError) as found:
        error = f"{type(found).__name__}: {found}"
    classes = [_class_row(node) for node in body if isinstance(node, ast.ClassDef)]
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    json.dump({"error": error, "classes": classes, "functions": functions}, sys.stdout)


def _class_row(node: ast.ClassDef) -> dict[str, object]:
    methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {"name": node.name, "methods": methods, "has_bases": bool(node.bases)}


if __name__ == "__main__":
    main()
