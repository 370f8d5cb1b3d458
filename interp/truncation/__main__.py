"""The command: python -m interp.truncation."""

from interp.truncation.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
