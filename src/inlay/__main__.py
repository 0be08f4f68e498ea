"""`python -m inlay` is `inlay`."""

import sys

from inlay.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
