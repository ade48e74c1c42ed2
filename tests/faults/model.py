"""What a ``Ledger`` must do, one call after the other, in plain Python: the judge of answers and states."""

from __future__ import annotations

from typing import Any

from jido_objects import ids
from tests.sim.witness import Step

MODULUS = 1_000_003
LABEL = "faults.Ledger"


def cast_id(call_id: str, source: str, target: str) -> str:
    """Id of the cast that a ``tell`` of one object to another makes with this id."""
    return ids.nested(call_id, LABEL, source, LABEL, target, "hear", "1")


def chained(value: int, tag: int) -> int:
    return (value * 31 + tag) % MODULUS


class LedgerModel:
    """Implements ``witness.Model``."""

    def initial(self) -> dict[str, Any]:
        return {"value": 0, "counts": {}, "recent": [], "heard": {}}

    def step(self, state: dict[str, Any], method: str, args: list[Any]) -> Step:
        match method, args:
            case ("take" | "order"), [_] if state["value"] % 3 == 0:
                return Step(state, [state["value"]], refused=True)
            case (("put" | "slow" | "take" | "order"), [tag]) | ("tell", [tag, _]):
                after = self._after(state, tag)
                return Step(after, [after["value"], len(after["counts"])])
            case "drain", [tags]:
                after = state
                for tag in tags:
                    after = self._after(after, tag)
                return Step(after, [after["value"], len(after["counts"])])
            case "keep", [tag]:
                return Step(state, [state["value"], tag])
            case "hear", [source]:
                times = state["heard"].get(source, 0) + 1
                return Step({**state, "heard": {**state["heard"], source: times}}, [times])
            case "look", []:
                return Step(state, [state["value"], state["counts"], state["recent"]])
        raise ValueError(f"{method}{args} has no answer")

    def _after(self, state: dict[str, Any], tag: int) -> dict[str, Any]:
        name = str(tag % 5)
        counts = {**state["counts"], name: state["counts"].get(name, 0) + 1}
        return {**state, "value": chained(state["value"], tag), "counts": counts, "recent": [*state["recent"], tag][-3:]}

    def writes(self, method: str) -> bool:
        return method in ("put", "drain", "slow", "take", "order", "tell", "hear")

    def recorded(self, method: str) -> bool:
        return method != "look"
