"""Finished spool files -> destinations on the web: at least once, and in order for each of them.

- `calls.py`: lines of a spool file -> calls, with the loader's own rules for what is no call,
  `objects.py`: objects as they stand in them;
- `kinds.py`: kinds of destinations, and how their requests look;
- `delivery.py`: calls -> requests, and what becomes of each answer; `http.py`: their connections;
- `state.py`: how far each destination is, in `<spool_dir>/.forward.db`;
- `running.py`: a thread for each destination; `metrics.py`: what can be seen of them.

A unit of work is a piece of one file, always the same one. Its end is kept when each of its calls
was accepted, or refused for good. So what is repeated after a crash are whole requests, with the
same calls and ids.
"""
