"""The command: python -m analyses.certified."""

from analyses.certified.study import main

if __name__ == "__main__":
    raise SystemExit(main())
