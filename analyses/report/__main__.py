"""The command: python -m analyses.report."""

import sys

from analyses.report.page import main

if __name__ == "__main__":
    sys.exit(main())
