"""The command: python -m interp.failure_diff."""

from interp.failure_diff.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
