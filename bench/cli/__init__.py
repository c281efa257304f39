"""The command line: `glimpse`, the same as `python -m glimpsebench`."""

from __future__ import annotations

import sys

from safetensors import SafetensorError

from glimpsebench.bench import escape, terminal
from glimpsebench.bench.cli import catalogue, checking, reading, running
from glimpsebench.bench.cli.common import INTERRUPTED, Failed, app, parse_changes, parse_seeds
from glimpsebench.envs.errors import UsageError

__all__ = ["app", "catalogue", "checking", "main", "parse_changes", "parse_seeds", "reading", "running"]

ORDER = [module.__name__ for module in (catalogue, running, reading, checking)]
"""In which `--help` has the commands."""
app.registered_commands.sort(key=lambda command: ORDER.index(getattr(command.callback, "__module__", "")))


def _complain(line: str) -> None:
    """One line to standard error, which on a terminal goes on below itself."""
    print(terminal.folded(line) if sys.stderr.isatty() else line, file=sys.stderr)


def main() -> None:
    """Run the command line; mistakes of the user are one line and exit code 2, never a traceback."""
    try:
        app(standalone_mode=True)
    except UsageError as error:
        _complain(f"error: {escape.terminal(str(error))}")
        sys.exit(2)
    except Failed as error:
        _complain(f"failed: {error}")
        sys.exit(1)
    except (OSError, SafetensorError) as error:  # no such file, a folder that is read-only, a full disk
        where = getattr(error, "filename", None)
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        _complain(f"error: {where}: {why}" if where else f"error: {why}")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns Ctrl-C into this
            same = "the same command without --again" if "--again" in sys.argv else "the same command"
            print(f"\nstopped: finished runs are kept, and {same} goes on from here", file=sys.stderr)
        raise
