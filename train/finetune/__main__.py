"""The command: python -m train.finetune."""

from train.finetune.rounds import main

if __name__ == "__main__":
    raise SystemExit(main())
