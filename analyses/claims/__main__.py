"""The command: python -m analyses.claims."""

import sys

from analyses.claims.check import main

if __name__ == "__main__":
    sys.exit(main())
