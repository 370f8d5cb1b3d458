"""The command: python -m analyses.compression."""

from analyses.compression.study import main

if __name__ == "__main__":
    raise SystemExit(main())
