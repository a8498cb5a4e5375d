"""The `otelcore` command: the same program as the binary of this name."""

import os
import signal
import sys

from ._otelcore import command


def main() -> int:
    """Runs the command line of this process, and returns the exit code."""
    # The command shuts down on Ctrl-C; Python's own handler would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    return command([os.path.basename(sys.argv[0]), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
