"""The command: python -m analyses.figures."""

from analyses.figures.study import main

if __name__ == "__main__":
    raise SystemExit(main())
