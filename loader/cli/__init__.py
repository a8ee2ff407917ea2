"""The commands, a file per noun. They translate only: settings in, results out.

Results go to stdout, logs and progress to stderr. What is heavy to import waits until a command
needs it, so that `--help` is quick.
"""

import atexit
import gc

# What imports make stays to the end. To search it for cycles, again and again and once more when
# Python ends, takes a tenth of a short run.
gc.set_threshold(200_000)
atexit.register(gc.freeze)

from loader.cli.app import main  # noqa: E402 (first the threshold)

__all__ = ["main"]
