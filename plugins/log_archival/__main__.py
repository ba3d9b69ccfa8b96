"""``python -m log_archival``: the command ``log-archival``."""

import sys

from log_archival.reader.cli import main

if __name__ == "__main__":
    sys.exit(main())
