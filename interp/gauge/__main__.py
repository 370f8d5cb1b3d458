"""The command: python -m interp.gauge."""

from interp.gauge.changes import main

if __name__ == "__main__":
    raise SystemExit(main())
