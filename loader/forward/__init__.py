"""Finished spool files -> destinations on the web: at least once, and in order for each of them.

- `calls.py`: lines of a spool file -> calls, with the loader's own rules for what is no call;
- `segment.py`, `webhook.py`: a kind of destination each; how its requests look, and its limits;
- `delivery.py`: calls -> requests, and what becomes of each answer;
- `state.py`: how far each destination is, in `<spool_dir>/.forward.db`;
- `running.py`: a thread for each destination; `metrics.py`: what can be seen of them.

A unit of work is a piece of one file, always the same one. Its end is kept when each of its calls
was accepted, or refused for good. So what is repeated after a crash are whole requests, with the
same calls and ids.
"""
