"""The contenders: one file each, found by file name. There is no list to edit."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from glimpsebench.agents.base import Agent
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.settings import validated

_SHARED = ("actor_critic", "attentive", "attribution", "bagnet", "base", "masks", "nets", "recurrent")


def names() -> list[str]:
    """The agents of this package, by file name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def find(name: str) -> type[Agent]:
    """The agent class of a name here, or of a dotted module anywhere on the path (`my_package.my_module`).

    Raises:
        UsageError: no such agent, a module that cannot be imported, or one without exactly one agent.
    """
    if name in names():
        module = importlib.import_module(f"{__name__}.{name}")
    elif "." in name or importlib.util.find_spec(name) is not None:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"agent '{name}': cannot import it ({error}); run where it can be found") from None
    else:
        raise unknown("agent", name, names())
    own = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, Agent)
        and kind.__module__ == module.__name__
        and not inspect.isabstract(kind)
    ]
    if len(own) != 1:
        raise UsageError(f"agent '{name}': {module.__file__} must define one Agent, and has {len(own)}")
    return own[0]


def make(name: str, settings: Mapping[str, Any] | None = None) -> Agent:
    """An untrained agent of this name with these settings; both are checked."""
    kind = find(name)
    return kind(**validated(kind, settings or {}, f"agent '{name}'"))
