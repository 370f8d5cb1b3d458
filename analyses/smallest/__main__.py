"""The command: python -m analyses.smallest."""

from analyses.smallest.study import main

if __name__ == "__main__":
    raise SystemExit(main())
