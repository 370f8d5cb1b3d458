"""The command: python -m analyses.dynamics."""

import sys

from analyses.dynamics.study import main

if __name__ == "__main__":
    sys.exit(main())
