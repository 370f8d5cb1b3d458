"""The command: python -m interp.certify_trajectory."""

from interp.certify_trajectory.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
