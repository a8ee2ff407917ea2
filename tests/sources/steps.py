"""How many steps a regular expression takes, which the module `re` does not say."""

import re
from collections.abc import Iterator
from typing import Any


class Work:
    """Matches as the module `re` does, one step after the other, and counts the steps."""

    def __init__(self, regex: str, text: str) -> None:
        self.text, self.steps = text, 0
        tree = re._parser.parse(regex, re.DOTALL)  # type: ignore[attr-defined]
        self.is_match = any(end == len(text) for end in self.ends(list(tree), 0))

    def ends(self, nodes: list[Any], at: int) -> Iterator[int]:
        """Where a match of all `nodes` that begins at a place can end, the first choice first."""
        self.steps += 1
        if not nodes:
            yield at
            return
        for end in self.one(*nodes[0], at):
            yield from self.ends(nodes[1:], end)

    def one(self, op: Any, value: Any, at: int) -> Iterator[int]:
        self.steps += 1
        match str(op):
            case "ATOMIC_GROUP":
                yield from self.first(self.ends(list(value), at))
            case "POSSESSIVE_REPEAT":
                yield from self.first(self.repeated(list(value[2]), at, is_greedy=True))
            case "MAX_REPEAT" | "MIN_REPEAT":
                is_greedy = str(op) == "MAX_REPEAT"
                yield from self.repeated(list(value[2]), at, is_greedy=is_greedy, most=value[1])
            case "SUBPATTERN":
                yield from self.ends(list(value[3]), at)
            case "BRANCH":
                for branch in value[1]:
                    yield from self.ends(list(branch), at)
            case "ASSERT" | "ASSERT_NOT":
                found = any(True for _ in self.ends(list(value[1]), at))
                if found == (str(op) == "ASSERT"):
                    yield at
            case "AT":
                if at == len(self.text):
                    yield at
            case _:  # one character
                if at < len(self.text) and self.is_one(str(op), value, self.text[at]):
                    yield at + 1

    def first(self, ends: Iterator[int]) -> Iterator[int]:
        yield from [end for end, _ in zip(ends, [None], strict=False)]

    def repeated(
        self, nodes: list[Any], at: int, *, is_greedy: bool, most: int = 1 << 20
    ) -> Iterator[int]:
        """Without recursion, as a path has more characters than Python may call functions."""
        waiting = [(at, iter([at]) if most == 0 else self.ends(nodes, at))]
        if not is_greedy:
            yield at
        while waiting:
            begin, ends = waiting[-1]
            end = next(ends, None)
            self.steps += 1
            if end is None or end == begin:
                waiting.pop()
                if is_greedy:
                    yield begin
                continue
            if not is_greedy:
                yield end
            waiting.append((end, self.ends(nodes, end)))

    def is_one(self, op: str, value: Any, character: str) -> bool:
        if op == "IN":
            items = [(str(kind), item) for kind, item in value]
            found = any(self.is_one(*item, character) for item in items if item[0] != "NEGATE")
            return found != (items[0][0] == "NEGATE")
        if op == "RANGE":
            return bool(value[0] <= ord(character) <= value[1])
        return {"ANY": True, "LITERAL": value == ord(character)}.get(op, value != ord(character))
