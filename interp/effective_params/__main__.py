"""The command: python -m interp.effective_params."""

from interp.effective_params.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
