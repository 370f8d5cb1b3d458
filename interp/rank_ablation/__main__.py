"""The command: python -m interp.rank_ablation."""

from interp.rank_ablation.instrument import main

if __name__ == "__main__":
    raise SystemExit(main())
