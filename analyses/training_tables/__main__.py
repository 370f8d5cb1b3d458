"""The command: python -m analyses.training_tables."""

from analyses.training_tables.study import main

if __name__ == "__main__":
    raise SystemExit(main())
