"""The `otelcore` command: the same program as the binary of this name."""

import os
import signal
import sys

from ._otelcore import command


def main() -> int:
    """Runs the command line of this process, and gives the exit code."""
    # The command ends on Ctrl-C in an orderly way; Python's own idea of it would be a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    return command([os.path.basename(sys.argv[0]), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
