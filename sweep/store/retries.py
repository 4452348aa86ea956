"""Which runs a launch tries again by itself, and what their next job gets that the last one lacked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweep.core.errors import Cause
from sweep.store.attempts import Claim, claims
from sweep.store.layout import RunPaths

RETRYABLE = {Cause.OUT_OF_MEMORY, Cause.OUT_OF_GPU_MEMORY, Cause.NODE_FAILURE, Cause.TIME_LIMIT}
"""What another attempt may survive: with more memory, on a GPU that fewer share, on another node, from its checkpoint."""


@dataclass(frozen=True)
class RetryHistory:
    """How a run's attempts ended.

    Attributes:
        ends: of every ended attempt the cause if it is one of `RETRYABLE`, else None, in their order.
        failed_nodes: names of the nodes that failed during an attempt.
    """

    ends: Sequence[Cause | None]
    failed_nodes: Sequence[str]

    @classmethod
    def of(cls, run: RunPaths) -> "RetryHistory":
        ended = [claim for claim in claims(run) if claim.outcome]
        ends = [_retryable(claim) for claim in ended]
        nodes = {
            claim.content.get("slurm_node") or claim.content["host"]
            for claim in ended
            if claim.cause is Cause.NODE_FAILURE
        }
        return cls(ends, sorted(nodes))

    def should_retry(self, retries: int) -> bool:
        """Whether another attempt may survive what ended the last one, which has struck no more than `retries` times."""
        return bool(self.ends) and self.ends[-1] is not None and self.ends.count(self.ends[-1]) <= retries

    def profile_changes(self, memory: int | None) -> dict[str, Any]:
        """What to change in a profile whose jobs get `memory` MB: twice as much for each time that it was too little."""
        changes: dict[str, Any] = {}
        if memory and (times := self.ends.count(Cause.OUT_OF_MEMORY)):
            changes["memory"] = memory * 2**times
        if self.failed_nodes:
            changes["exclude"] = list(self.failed_nodes)
        return changes


def _retryable(claim: Claim) -> Cause | None:
    return claim.cause if claim.cause in RETRYABLE else None


def summarise_retries(earlier: Sequence[Claim]) -> tuple[int, str]:
    """For the row of a run: how many of the attempts `earlier` ended by a retryable cause, and the ends of all, as JSON."""
    ends = [
        {"attempt": claim.number, "outcome": claim.outcome, "error": claim.content.get("error")}
        for claim in earlier
    ]
    return sum(_retryable(claim) is not None for claim in earlier), json.dumps(ends)
