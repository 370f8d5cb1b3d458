"""The command: python -m analyses.algorithm."""

from analyses.algorithm.study import main

if __name__ == "__main__":
    raise SystemExit(main())
