"""Which runs a launch tries again by itself, and what their next job gets that the last one lacked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweep.store.attempts import Claim, claims
from sweep.store.layout import RunPaths

Cause = Literal["memory", "gpu memory", "node", "time"]
"""Why an attempt ended that another one may survive: with more memory, on a GPU that fewer share, elsewhere, from its
checkpoint."""

_WORDS: dict[str, Cause] = {
    "out of memory": "memory",
    "out of GPU memory": "gpu memory",
    "node failure": "node",
    "time-out": "time",
}
"""What the error of an attempt begins with."""


def cause_of(error: str) -> Cause | None:
    """The cause that an attempt's error tells; None for any other, which would only come again."""
    return next((cause for words, cause in _WORDS.items() if error.startswith(words)), None)


@dataclass(frozen=True)
class Chances:
    """What became of a run's attempts.

    Attributes:
        ends: of every ended attempt the cause, or None, in their order.
        nodes: that failed under it.
    """

    ends: Sequence[Cause | None]
    nodes: Sequence[str]

    @classmethod
    def of(cls, run: RunPaths) -> "Chances":
        ended = [claim for claim in claims(run) if claim.outcome]
        ends = [cause_of(claim.content.get("error") or "") for claim in ended]
        nodes = [
            claim.content.get("slurm_node") or claim.content["host"]
            for claim, cause in zip(ended, ends, strict=True)
            if cause == "node"
        ]
        return cls(ends, sorted(set(nodes)))

    def again(self, most: int) -> bool:
        """Whether the last attempt's end may be tried to be mended: it has a cause that has struck no more than `most` times."""
        return bool(self.ends) and self.ends[-1] is not None and self.ends.count(self.ends[-1]) <= most

    def wants(self, memory: int | None) -> dict[str, Any]:
        """What to change in a profile whose jobs get `memory` MB: twice as much for each time that it was too little."""
        changes: dict[str, Any] = {}
        if memory and (times := self.ends.count("memory")):
            changes["memory"] = memory * 2**times
        if self.nodes:
            changes["exclude"] = list(self.nodes)
        return changes


def told(earlier: Sequence[Claim]) -> tuple[int, str]:
    """For the row of a run: how many earlier attempts ended by a cause that is tried again, and the ends of all, as JSON."""
    ends = [
        {"attempt": claim.number, "outcome": claim.outcome, "error": claim.content.get("error")}
        for claim in earlier
    ]
    retried = sum(cause_of(claim.content.get("error") or "") is not None for claim in earlier)
    return retried, json.dumps(ends)
