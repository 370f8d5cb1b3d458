"""The command: python -m train.sweep."""

from train.sweep.seeds import main

if __name__ == "__main__":
    raise SystemExit(main())
