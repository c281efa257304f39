"""The command line: `glimpse`, the same as `python -m glimpsebench`."""

import gc


def main() -> None:
    """Import the commands and run one."""
    gc.disable()  # imports make many objects and no rubbish, for which the collector would look in vain
    from glimpsebench.bench import cli

    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
