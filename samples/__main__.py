"""The command that writes sample events."""

import argparse
import gzip
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast, get_args

from samples import Shape, generate


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m samples", description="Write invented Customer.io events as NDJSON."
    )
    add = parser.add_argument
    add("--events", type=int, default=5000, help="number of lines (default 5000)")
    add("--seed", type=int, default=1, help="another seed, another sample (default 1)")
    add("--shape", choices=get_args(Shape), default="mixed", help="mixed: all forms; segment: bulk")
    add("--extra-properties", type=int, default=0, metavar="N", help="distinct ones to spread")
    add("--conflicts", type=_fraction, default=0.0, metavar="F", help="share of unfitting values")
    add("--duplicates", type=_fraction, metavar="F", help="share of repeated lines")
    add("--broken", type=_fraction, metavar="F", help="share of lines that cannot be loaded")
    add("--gzip", action="store_true", help="compress; the same bytes each time")
    add("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    return parser.parse_args(argv)


def _write(lines: Iterator[bytes], out: BinaryIO, *, compress: bool) -> None:
    """Write all lines; a gzip header gets neither name nor time, or no two would be alike."""
    if compress:
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0) as packed:
            _write(lines, cast(BinaryIO, packed), compress=False)
        return
    while chunk := b"".join(islice(lines, 1000)):
        out.write(chunk)


def main(argv: Sequence[str] | None = None) -> int:
    """Write a sample to a file or to standard output; a file appears only when it is whole."""
    args = vars(_arguments(argv))
    output, compress = args.pop("output"), args.pop("gzip")
    lines = generate(args.pop("events"), **args)
    if output is None:
        try:
            _write(lines, sys.stdout.buffer, compress=compress)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough; Python must not flush again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as out:
            _write(lines, out, compress=compress)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
