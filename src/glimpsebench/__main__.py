"""`python -m glimpsebench` is the same as `glimpse`."""

from glimpsebench.bench.cli import main

if __name__ == "__main__":
    main()
