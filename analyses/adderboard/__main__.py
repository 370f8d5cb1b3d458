"""The command: python -m analyses.adderboard."""

from analyses.adderboard.study import main

if __name__ == "__main__":
    raise SystemExit(main())
