"""The contenders: one file each, found by file name. There is no list to edit."""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import io
import pkgutil
import re
import sys
import tokenize
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glimpsebench.agents.common.base import Agent
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.settings import validated


def names() -> list[str]:
    """The agents of this package, by file name."""
    return list(_names())


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg))


def own_modules(folder: Path | None = None) -> list[str]:
    """The modules in a folder, or in a package in it, that look like agents of the user's own; none is imported.

    Args:
        folder: by default the current one.
    """
    folder = folder or Path.cwd()
    found = []
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/*.py")]):
        parts = path.relative_to(folder).with_suffix("").parts
        ours = path.resolve().is_relative_to(Path(__file__).resolve().parent)
        if ours or not all(part.isidentifier() for part in parts) or parts[-1].startswith("test_"):
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if re.search(r"^class \w+\(.*Agent\b", text := path.read_text(), re.M) and f"{_PACKAGE}.agents" in text:
                found.append(".".join(parts))
    return found


def find(name: str) -> type[Agent]:
    """The agent class of a name here, or of a dotted module anywhere on the path (`my_package.my_module`).

    Raises:
        UsageError: no such agent, a module that cannot be imported, or one without exactly one agent.
    """
    return _agent_in(_imported_module(name), name)


@functools.cache
def _agent_in(module: types.ModuleType, name: str) -> type[Agent]:
    own = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Agent) and kind.__module__ == module.__name__
    ]
    whole = [kind for kind in own if not inspect.isabstract(kind)]
    if len(whole) != 1:
        where = getattr(module, "__file__", None) or f"the module {name}, which is no file,"
        lacking = [f"{kind.__name__} lacks {', '.join(sorted(kind.__abstractmethods__))}" for kind in own]
        why = f" ({'; '.join(lacking)})" if lacking and not whole else ""
        raise UsageError(f"agent '{name}': {where} must define one Agent, and has {len(whole)}{why}")
    return whole[0]


def _imported_module(name: str) -> types.ModuleType:
    """The module of an agent. What goes wrong in a user's own is said in one line, whatever it is."""
    if name in _names():
        return importlib.import_module(f"{__name__}.{name}")
    known = [*_names(), *own_modules()]
    if name.endswith(".py") or "/" in name:
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise UsageError(f"agent '{name}': write the module's dotted name, not its path: {dotted}")
    if not all(part.isidentifier() for part in name.split(".")):
        raise unknown("agent", name, known)
    try:
        if "." not in name and importlib.util.find_spec(name) is None:
            raise unknown("agent", name, known)
        return importlib.import_module(name)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        if not (name == error.name or name.startswith(f"{error.name}.")):  # it lacks another module
            raise UsageError(f"agent '{name}': cannot import it ({error})") from None
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        remedy = f"did you mean '{near[0]}'?" if near else "run where it can be found"
        raise UsageError(f"agent '{name}': cannot import it ({error}); {remedy}") from None
    except (Exception, SystemExit) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"agent '{name}': cannot import it ({what}); mend the module") from None


def make(name: str, settings: Mapping[str, Any] | None = None) -> Agent:
    """An untrained agent of this name with these settings; both are checked."""
    kind = find(name)
    values = validated(kind, settings or {}, f"agent '{name}'")
    if name in _names():
        return kind(**values)
    try:
        return kind(**values)
    except UsageError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"agent '{name}': {kind.__name__} cannot be made ({what}); is it a @dataclass?") from error


@functools.cache
def source_hash(name: str) -> str:
    """The first 16 hex digits of the SHA-256 of an agent's code, as this process has loaded it.

    It covers the agent's module and what that imports, directly or not, from its own folder and the folders below;
    for a contender from outside neither installed packages nor this one count, where they lie in such a folder.
    Comments, docstrings and blank lines do not count: what cannot move a score does not make another contender.
    """
    content = hashlib.sha256()
    for path in sorted(sources(name)):
        content.update(code_only(path.read_text()).encode())
    return content.hexdigest()[:16]


def sources(name: str) -> set[Path]:
    """The files that `source_hash` covers."""
    module = sys.modules[find(name).__module__]
    return _sources(module.__name__, Path(str(module.__file__)).parent)


_PACKAGE, _INSTALLED = __name__.split(".")[0], {"site-packages", "dist-packages"}


def _sources(name: str, folder: Path, found: set[Path] | None = None) -> set[Path]:
    """The files of a loaded module and of the modules in this folder that it imports."""
    found = set() if found is None else found
    file = Path(getattr(sys.modules.get(name), "__file__", None) or "/")
    from_outside = folder != Path(__file__).parent
    if not file.is_relative_to(folder) or file in found or file == Path(__file__):
        return found
    if file.suffix != ".py" or (from_outside and (name.split(".")[0] == _PACKAGE or _INSTALLED & {*file.parts})):
        return found
    found.add(file)
    for other in _imported(file.read_text(), str(sys.modules[name].__package__)):
        _sources(other, folder, found)
    return found


_parsed = functools.cache(ast.parse)  # what many agents share is read once


@functools.cache
def _imported(source: str, package: str) -> tuple[str, ...]:
    """The dotted names that a module may have loaded modules under."""
    names: list[str] = []
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)


@functools.cache
def code_only(source: str) -> str:
    """A module's text without comments, docstrings and blank lines.

    >>> code_only("x = 1  # why" + chr(10) * 2 + "y = 2")
    'x = 1\\ny = 2'
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for child in node.body:  # a text as a statement: a docstring, also one below an attribute
                first, last = child.lineno - 1, (child.end_lineno or child.lineno) - 1
                beside = lines[first].encode()[: child.col_offset] + lines[last].encode()[child.end_col_offset :]
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and not beside.strip():
                    for row in range(first, last + 1):
                        lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
