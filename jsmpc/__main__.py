"""`python -m jsmpc`: see `jsmpc.examples.command`."""

import sys

from jsmpc.examples.command import main

if __name__ == "__main__":
    sys.exit(main())
