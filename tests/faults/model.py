"""What a ``Ledger`` must do, one call after the other, in plain Python: the judge of answers and states."""

from __future__ import annotations

from typing import Any

from tests.sim.witness import Step

MODULUS = 1_000_003


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
                name = str(tag % 5)
                counts = {**state["counts"], name: state["counts"].get(name, 0) + 1}
                value = chained(state["value"], tag)
                after = {**state, "value": value, "counts": counts, "recent": [*state["recent"], tag][-3:]}
                return Step(after, [value, len(counts)])
            case "keep", [tag]:
                return Step(state, [state["value"], tag])
            case "hear", [source]:
                times = state["heard"].get(source, 0) + 1
                return Step({**state, "heard": {**state["heard"], source: times}}, [times])
            case "look", []:
                return Step(state, [state["value"], state["counts"], state["recent"]])
        raise ValueError(f"{method}{args} has no answer")

    def writes(self, method: str) -> bool:
        return method in ("put", "slow", "take", "order", "tell", "hear")

    def recorded(self, method: str) -> bool:
        return method != "look"
