"""The command: python -m analyses.repair."""

from analyses.repair.study import main

if __name__ == "__main__":
    raise SystemExit(main())
