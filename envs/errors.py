"""What a user did wrong, said in one line. The command line prints it and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(Exception):
    """A mistake that the user can mend; its text names the key or the file, and the remedy."""


def unknown(kind: str, name: object, known: Iterable[str], also: Iterable[str] = ()) -> UsageError:
    """An error for a name that does not exist, with the nearest one that does, be it of those known by which it is
    `also` called.

    >>> print(unknown("agent", "rma", ["ram", "dham"]))
    unknown agent 'rma': did you mean 'ram'? (known: dham, ram)
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), [*names, *also], n=1, cutoff=0.4)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names) or 'none'})")
