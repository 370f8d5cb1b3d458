"""The command: python -m analyses.curves."""

from analyses.curves.study import main

if __name__ == "__main__":
    raise SystemExit(main())
