"""What a kind of object asks of the pipeline: when a turn is written, and when it is answered.

The pipeline has no branch for kinds; it asks the type's policy. There is one policy today, ``durable``.
"""

from __future__ import annotations

from typing import Protocol


class Policy(Protocol):
    """The two questions."""

    def writes(self, *, changed: bool, outputs: bool, own_id: bool, refused: bool, absent: bool) -> bool:
        """Whether a finished turn becomes a journal row."""

    def answers_after_commit(self) -> bool:
        """Whether replies and outputs wait until the row, and all before it, are committed."""


class Durable:
    """Every change is a row; nothing is observable before its commit."""

    __slots__ = ()

    def writes(self, *, changed: bool, outputs: bool, own_id: bool, refused: bool, absent: bool) -> bool:
        # A caller's own id always leaves a row, so that its retry finds the recorded answer; except that a refusal on an
        # absent key creates nothing.
        return changed or outputs or (own_id and not (refused and absent))

    def answers_after_commit(self) -> bool:
        return True


POLICIES: dict[str, Policy] = {"durable": Durable()}
