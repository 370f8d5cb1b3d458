"""The command: python -m train.ship."""

from train.ship.card import main

if __name__ == "__main__":
    raise SystemExit(main())
