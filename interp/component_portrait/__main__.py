"""The command: python -m interp.component_portrait."""

from interp.component_portrait.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
