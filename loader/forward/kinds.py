"""What a kind of destination is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loader.forward import segment, webhook


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How calls are sent, and within which limits."""

    # (calls, id of the batch, key, seconds since 1970) -> headers, body
    request: Callable[[Sequence[bytes], str, str, int], tuple[dict[str, str], bytes]]
    check_key: Callable[[str], bool]  # whether a key can be one
    left_out: frozenset[str] = field(default_factory=frozenset)  # keys of a call


KINDS = {
    "segment": Kind(
        request=segment.request, check_key=segment.check_key, left_out=segment.LEFT_OUT
    ),
    "webhook": Kind(request=webhook.request, check_key=webhook.check_key),
}
