"""Parses Python source in a separate process. `sources` runs this file as a script. It needs only the standard library.

Reads the source from standard input. Writes JSON: `error`, for each class its name, its methods, and whether it has
base classes, the names of the functions, the modules that it needs (those that are imported at its top level without a
condition; a relative import begins with a dot), and, if it is a class alone, the names that nothing in it defines.
"""

import ast
import builtins
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
    imports = sorted({name for node in body for name in _imports(node)})
    lists = {"classes": classes, "functions": functions, "imports": imports, "undefined": _lost(body)}
    json.dump({"error": error, **lists}, sys.stdout)


def _imports(node: ast.stmt) -> list[str]:
    """List the first names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level == 0:
        return [(node.module or "").partition(".")[0]]
    names = [node.module] if node.module else []  # `from . import x` may import a name of the package itself
    return [f".{name.partition('.')[0]}" for name in names if node.level == 1]


def _lost(body: list[ast.stmt]) -> list[str]:
    """List the names that nothing defines, if all there is is a class: a client sent it without what was around it."""
    code = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    if len(code) != 1 or not isinstance(code[0], ast.ClassDef):
        return []
    used: set[str] = set()
    bound = {*dir(builtins), "__name__", "__file__", "__doc__", "__class__", "__module__", "__qualname__"}
    for node in ast.walk(code[0]):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        else:  # functions, classes, except clauses and patterns
            bound.add(str(getattr(node, "name", None) or getattr(node, "rest", None)))
    return sorted(used - bound)


def _class_row(node: ast.ClassDef) -> dict[str, object]:
    methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {"name": node.name, "methods": methods, "has_bases": bool(node.bases)}


if __name__ == "__main__":
    main()
