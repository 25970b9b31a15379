"""Run the command as ``python -m edgeseg``, for an interpreter whose scripts are not on the PATH."""

import sys

from edgeseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
