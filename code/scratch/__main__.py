"""``python -m scratch``: see :mod:`scratch.plumbing.cli`."""

import sys

from scratch.plumbing.cli import main

if __name__ == "__main__":
    sys.exit(main())
