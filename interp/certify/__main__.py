"""The command: python -m interp.certify."""

from interp.certify.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
