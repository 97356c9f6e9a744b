"""`python -m jsmpc`: see `jsmpc.examples.cli`."""

import sys

from jsmpc.examples.cli import main

if __name__ == "__main__":
    sys.exit(main())
