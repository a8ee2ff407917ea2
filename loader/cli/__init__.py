"""The commands, a file per noun. They translate only: settings in, results out.

Results go to stdout, logs and progress to stderr. What is heavy to import waits until a command
needs it, so that `--help` is quick.
"""

from loader.cli.app import main

__all__ = ["main"]
