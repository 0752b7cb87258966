"""The source of a class, for a file of its own: the class, and what it needs of its file or notebook cell."""

import ast
import builtins
import inspect
import linecache
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ml_trainer_env.arena.client.errors import SubmissionError

__all__ = ["source_of"]

_OF_ITSELF = {"__name__", "__file__", "__doc__", "__class__", "__module__", "__qualname__"}
"""Names that modules and classes define by themselves."""

_WRITE_FILE = 'write it to a file (in a notebook: %%writefile agent.py) and submit files=["agent.py"]'


def source_of(agent: type[Any]) -> str:
    """Get the source of a class as a file: with the imports, functions, classes and constants of its file or cell.

    Only what the class needs is taken. Other statements, such as the call that submits it, are left out.

    Raises:
        SubmissionError: The value is not a class, its source is not available, or it needs names that its file or cell
            does not define, such as those of other cells. The message names them.
    """
    if not inspect.isclass(agent):
        raise SubmissionError(f"agent should be a class, got {agent!r}")
    if "." in agent.__qualname__:  # a class within a function or a class
        try:
            return textwrap.dedent(inspect.getsource(agent))
        except (OSError, TypeError) as error:
            raise SubmissionError(f"the source of {agent.__name__} is not available: {_WRITE_FILE}") from error
    text = _text_around(agent)
    body = _parse(text).body
    named = [node for node in body if isinstance(node, ast.ClassDef) and node.name == agent.__name__]
    if not named:
        raise SubmissionError(f"the source of {agent.__name__} is not available: {_WRITE_FILE}")
    needed = _with_needs(named[-1], body)
    if missing := sorted(_undefined(needed)):
        listed = "; ".join(_origin(name) for name in missing)
        raise SubmissionError(
            f"{agent.__name__} uses {', '.join(missing)}, and nothing in its file or notebook cell defines "
            f"{'it' if len(missing) == 1 else 'them'}. Add to the cell of the class: {listed}"
        )
    lines = text.splitlines(keepends=True)
    return "\n\n".join("".join(lines[_first_line(node) - 1 : node.end_lineno]).rstrip() for node in needed) + "\n"


def _text_around(agent: type[Any]) -> str:
    """Get the text of the file or the cell that defines a class. Python knows it by the code of its methods."""
    for value in vars(agent).values():
        function = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)) or value)
        code = getattr(function, "__code__", None)
        if code is not None and (lines := linecache.getlines(code.co_filename)):
            return "".join(lines)
    raise SubmissionError(f"the source of {agent.__name__} is not available: {_WRITE_FILE}")


def _parse(text: str) -> ast.Module:
    """Parse a file or a cell, which may await at its top level."""
    tree = compile(text, "<agent>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


def _with_needs(start: ast.stmt, body: list[ast.stmt]) -> list[ast.stmt]:
    """List a statement and those that define what it needs, in the order of the text."""
    needed, names = {start}, _loaded(start)
    while True:
        more = {node for node in body if node not in needed and _defines(node) & names}
        if not more:
            break
        needed |= more
        names = names.union(*map(_loaded, more))
    return [node for node in body if node in needed or _is_star(node) or _is_of_future(node)]


def _is_star(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def _is_of_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _loaded(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def _defines(node: ast.stmt) -> set[str]:
    """List the names that a statement of a module defines. A bare expression, such as a call, defines none."""
    return set() if isinstance(node, ast.Expr) else set(_bound(node, into_scopes=False))


def _bound(node: ast.AST, into_scopes: bool) -> Iterator[str]:
    """List the names that are bound within a node, in functions and classes only if asked."""
    match node:
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
            if not into_scopes:
                return
        case ast.Lambda() if not into_scopes:
            return
        case ast.arg():
            yield node.arg
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
    for below in ast.iter_child_nodes(node):
        yield from _bound(below, into_scopes)


def _undefined(nodes: list[ast.stmt]) -> set[str]:
    """Find names that are used and bound nowhere. After an import of everything nothing is known."""
    if any(map(_is_star, nodes)):
        return set()
    used = set[str]().union(*map(_loaded, nodes))
    return used - {name for node in nodes for name in _bound(node, into_scopes=True)} - set(dir(builtins)) - _OF_ITSELF


def _origin(name: str) -> str:
    """Describe where a name comes from that another cell has defined."""
    value = getattr(sys.modules.get("__main__"), name, None)
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
    module, own = getattr(value, "__module__", "__main__"), getattr(value, "__name__", name)
    if module in {None, "__main__", "builtins"} or own != name:
        return f"the definition of {name}"
    return f"from {module} import {name}"


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])
