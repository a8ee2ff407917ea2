"""Objects of values for `_extra`: their names and values are what was given, as JSON."""

import json
import struct

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from loader.columns.cells import Cells
from loader.columns.paths import Paths
from loader.columns.tokenize import Scratch, Tokenizer
from loader.columns.tokens import Text

names = st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=9)


@given(names)
@example(["a", "b"])
@example([""])
@example(["a\n", "b"])
@example(["a\\n", 'say "x"', "\\", "é\x01"])
def test_objects_have_the_names_they_were_given(given_names: list[str]) -> None:
    record = json.dumps({str(n): n for n in range(len(given_names))}).encode()
    paths = Paths({})
    tokenizer = Tokenizer(Text([record]), paths, Scratch())
    tokenizer.read(*(np.array([each]) for each in (0, len(record), 0)))
    cells = Cells(tokenizer.tokens(records=1))
    every = np.arange(len(given_names))
    firsts = np.array([0, len(every)] if len(every) else [0])
    found = cells.objects(tokenizer.count - len(every) + every, every, firsts, given_names)
    if not given_names:
        assert not len(found)
        return
    (row,) = cells.rows().write(found[:, None], np.arange(1), 1).each()
    count, size, version = struct.unpack_from(">hib", row)
    assert (count, size, version) == (1, len(row) - 6, 1)
    assert json.loads(row[7:]) == {name: n for n, name in enumerate(given_names)}
