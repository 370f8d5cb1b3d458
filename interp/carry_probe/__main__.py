"""The command: python -m interp.carry_probe."""

from interp.carry_probe.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
