"""Small inputs are little work: what they cost grows no faster than their size.

Each family is a way in which a file can be made of one thing many times. It is taken through
everything but the database.
"""

import time
from collections.abc import Callable

import pytest

from loader.forms.read import Reader
from loader.load.batch import Batch
from loader.load.context import LoadContext
from loader.normalize.collections import declared_tables
from loader.sources.records import read_blocks

BLOCK = 1 << 20


def call(properties: str = "{}", key: str = "m", *, event: str = "Odd", more: str = "") -> str:
    return (
        f'{{"type":"track","event":"{event}","messageId":"{key}","userId":"u",'
        f'"timestamp":"2026-03-04T05:06:07.000Z",{more}"properties":{properties}}}'
    )


def keys(count: int, key: str = '"k{0}":{0}', opening: str = "{") -> str:
    return opening + ",".join(key.format(n) for n in range(count)) + "}"


def alike(count: int) -> str:
    """Keys that all become one column."""
    marks = str.maketrans("01", "-.")
    return "{" + ",".join(f'"a{f"{n:b}".translate(marks)}":{n}' for n in range(count)) + "}"


def timed(text: str) -> str:
    return call().replace('"2026-03-04T05:06:07.000Z"', text)


def lines(count: int, line: Callable[[int], str]) -> str:
    return "\n".join(map(line, range(count)))


FAMILIES: dict[str, Callable[[int], str]] = {
    # containers that do not close
    "lines [": lambda n: "[\n" * n,
    "lines [1,": lambda n: "[1,\n" * n,
    "lines [{": lambda n: "[{\n" * n,
    "lines [{}": lambda n: "[{}\n" * n,
    "lines [[": lambda n: "[[\n" * n,
    'lines ["': lambda n: '["\n' * n,
    "lines {": lambda n: "{\n" * n,
    'lines {"': lambda n: '{"\n' * n,
    "lines cut short": lambda n: '{"a":1\n' * n,
    "lines cut short in an array": lambda n: '{"a":[\n' * n,
    "lines cut short in a string": lambda n: '{"a":"\n' * n,
    "documents cut short": lambda n: '{\n"a":1\n' * n,
    "documents cut short among lines": lambda n: '{\n"a":1\n{"b":1}\n' * n,
    "arrays cut short among lines": lambda n: '[\n{"a":1}\n{"b":1}\n' * n,
    "an array of broken elements": lambda n: "[" + "{x},\n" * n + "]",
    "an array of broken strings": lambda n: "[" + '{"a":"\n},' * n + "]",
    "brackets on one line": lambda n: "[" * n,
    "closing brackets": lambda n: "]\n[" * n,
    "an envelope of calls without ids": lambda n: '{"batch":[' + '{"event":"A"},' * n + "0]}",
    "an envelope with a key twice of calls without ids": lambda n: (
        '{"batch":[' + '{"event":"A"},' * n + '0],"x":1,"x":2}'
    ),
    "blanks before a record": lambda n: " " * n + "{}\n",
    "surplus braces": lambda n: "{}}\n" * n,
    # containers that do
    "arrays, one a line": lambda n: '[{"a":1}]\n' * n,
    "arrays of several lines": lambda n: "[\n1\n]\n" * n,
    "arrays of several lines among lines": lambda n: "[\n1\n]\n{}\n" * n,
    "documents of several lines": lambda n: '{\n"a":1\n}\n' * n,
    "documents of several lines among lines": lambda n: '{\n"a":1\n}\n{"b":1}\n' * n,
    "documents with blank lines": lambda n: '{\n\n"a":1\n\n}\n\n' * n,
    "many values on a line": lambda n: "{}" * n + "\n",
    "lines with a comma": lambda n: "{},\n" * n,
    "nested envelopes": lambda n: '{"batch":[' * n + "{}" + "]}" * n,
    "an envelope of calls": lambda n: (
        '{"batch":[' + ",".join(call(key=f"m{i}") for i in range(n // 10)) + "]}"
    ),
    "an envelope that says much": lambda n: (
        f'{{"x":"{"y" * n}","batch":[' + ",".join(["{}"] * n) + "]}"
    ),
    # blanks
    "blanks": lambda n: " " * n,
    "blank lines": lambda n: "\n" * n,
    "blank lines in an array": lambda n: "[" + " \n" * n,
    "blank lines before an array": lambda n: " \n" * 40 * n + "[1]",
    "commas": lambda n: ",\n" * n,
    # strings
    "an unfinished string": lambda n: '{"a":"' + "x" * n,
    "an unfinished string of escapes": lambda n: '{"a":"' + "\\\\" * n,
    "quotes": lambda n: '"' * n,
    "escapes": lambda n: call('{"a":"' + '\\"' * n + '"}'),
    "what looks like keys": lambda n: call('{"a":"' + '\\":' * n + '"}'),
    "NUL": lambda n: call('{"a":["' + "\\u0000" * n + '"]}'),
    "lone surrogates": lambda n: call('{"a":["' + "\\ud800" * n + '"]}'),
    # keys
    "one key": lambda n: call(keys(n, '"a":{0}')),
    "one key in a list": lambda n: call('{"l":[' + keys(n, '"a":{0}') + "]}"),
    "one key of the context": lambda n: call(more='"context":' + keys(n, '"a":{0}') + ","),
    "one key of the envelope": lambda n: keys(n, '"messageId":"{0}"'),
    "a key twice in each object": lambda n: call(keys(n, '"k{0}":{{"x":1,"x":2}}')),
    "keys of one column": lambda n: call(alike(n)),
    "own keys": lambda n: call(keys(n)),
    "own keys of the context": lambda n: call(more='"context":' + keys(n) + ","),
    "own keys of the envelope": lambda n: call(more=keys(n)[1:-1] + ","),
    "own objects": lambda n: call(keys(n, '"k{0}":{{"x":{0}}}')),
    "keys that are cleaned": lambda n: call(keys(n, '"\\ud800{0}":1')),
    "long keys": lambda n: call(keys(n // 100, '"' + "aB_" * 300 + '{0}":1')),
    "own keys in each record": lambda n: lines(n, lambda i: call(keys(5, f'"k{i}_{{0}}":1'))),
    "own objects in each record": lambda n: lines(
        n, lambda i: call(keys(5, f'"k{i}_{{0}}":{{{{"a":1}}}}'), f"m{i}")
    ),
    "two keys of one column in each record": lambda n: lines(
        n, lambda i: call(f'{{"k{i}":1,"K {i}":2,"a":1,"A":2}}', f"m{i}")
    ),
    "a key twice in each record": lambda n: lines(n, lambda i: call('{"k":1,"k":2}', f"m{i}")),
    # names
    "a long name": lambda n: call(event="aB" * n),
    "a long key": lambda n: call('{"' + "a-" * n + '":1}'),
    "own names": lambda n: lines(n // 4, lambda i: call('{"a":1}', f"m{i}", event=f"Event {i}")),
    # values
    "nested objects": lambda n: call('{"a":' * n + "1" + "}" * n),
    "nested lists": lambda n: call('{"a":' + "[" * n + "]" * n + "}"),
    "empty lists": lambda n: call('{"a":[' + ",".join(["[]"] * n) + "]}"),
    "a long integer": lambda n: call('{"campaign_id":' + "9" * n + "}", event="Email Opened"),
    "a long fraction": lambda n: call('{"a":0.' + "9" * n + "}"),
    "large exponents": lambda n: call('{"a":[' + ",".join(["1e999990"] * n) + "]}"),
    "large exponents in columns": lambda n: lines(
        n // 4, lambda i: call('{"campaign_id":1e349}', f"m{i}", event="Email Opened")
    ),
    # times
    "a time with a large exponent": lambda n: timed("1e999990"),
    "a long integer for a time": lambda n: timed("9" * n),
    "a long text for a time": lambda n: timed('"' + "9" * n + '"'),
    "a time with blanks": lambda n: timed('"2026-' + " " * n + 'x"'),
    "a time with many digits": lambda n: timed('"2026-03-04T05:06:07.' + "0" * n + 'Z"'),
    # ids
    "one id": lambda n: lines(n, lambda i: call('{"a":1}')),
    "an id with a large exponent": lambda n: call().replace('"m"', "1e999990"),
}


def seconds(data: bytes) -> float:
    """Processor time for all of a file but the database."""
    began = time.process_time()
    context = LoadContext(started_at="2026-01-01T00:00:00+00:00", tables=declared_tables())
    batch, reader = Batch(number=1, context=context), Reader(max_record_bytes=16 << 20)
    chunks = (data[at : at + BLOCK] for at in range(0, len(data), BLOCK))
    for block in read_blocks(chunks):
        for read in reader.read(*block.spans):
            batch.add(read.events)
    batch.seal(lambda _changes: [])
    return time.process_time() - began


def check(family: str, size: int) -> None:
    make = FAMILIES[family]
    small, large = (make(n).encode("utf-8", "surrogatepass") for n in (size, 4 * size))
    assert seconds(large) <= 8 * seconds(small) + size / 2_000


@pytest.mark.parametrize("family", FAMILIES)
def test_four_times_the_input_is_about_four_times_the_work(family: str) -> None:
    """By processor time, with much room: what is not linear takes sixteen times as long."""
    check(family, 2_000)


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_that_holds_for_larger_inputs_too(family: str) -> None:
    check(family, 30_000)
