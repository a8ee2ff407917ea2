"""The exit codes."""

EXIT_TOO_MANY_REJECTS = 3

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong use or settings, 3 too many rejects, "
    "4 schema not at head, 75 another load runs, 130 and 143 stopped by a signal."
)
