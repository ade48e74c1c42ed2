"""What a run amounts to: every checker applied to what the callers saw, the journal and the database's log."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from jido_objects import delta as deltas

from .objects import LedgerModel
from .search import Invocation, Verdict, search
from .witness import Operation, Outcome, Row, Violation, canonical, check, check_events, check_journal, rows_by_object

if TYPE_CHECKING:
    from .simulation import Simulation

SEARCHED = 24
"""Objects with at most so many calls are looked at by the search as well."""
SEARCH_BUDGET = 20_000


def judge(simulation: Simulation) -> None:
    """Fill in the report of a run that has ended."""
    report, model = simulation.report, LedgerModel()
    rows = list(simulation.database.rows())
    snapshots = rows_by_object(simulation.database.snapshots())  # type: ignore[arg-type]
    for key, journal in rows_by_object(rows).items():
        report.violations.extend(check_journal(journal, snapshots.get(key, ()), model))  # type: ignore[arg-type]
    report.violations.extend(simulation.database.windows())
    report.trimmed = sum(len(rows) for rows in simulation.database.archive.values())
    # A failing turn has no answer, and so no row.
    _place_peeks(simulation, rows, model)
    asked = [operation for operation in simulation.history if "boom" not in operation.method and operation.method != "peek"]
    report.violations.extend(check(asked, rows, model))
    report.violations.extend(check_events(simulation.database.events))
    failing = {operation.id for operation in simulation.history if "boom" in operation.method}
    done = [row for row in rows if row.call_id in failing]
    report.violations.extend(Violation("applied", row.object, f"a turn that failed is row {row.seq}") for row in done)
    _search(simulation)
    report.operations = len(simulation.history)
    report.rows = len(rows)
    report.outcomes.update(operation.outcome.value for operation in simulation.history)
    report.burials = sum(event.what == "buried" for event in simulation.database.events)
    report.steps, report.elapsed = simulation.loop.steps, simulation.loop.elapsed
    seen = [[o.object, o.id, o.method, o.args, o.invoked, o.completed, o.outcome.value, o.saw, o.result] for o in simulation.history]
    held = [[r.object, r.seq, r.epoch, r.call_id, r.method, r.result, r.delta] for r in rows]
    log = [[e.what, e.term, e.object, e.epoch, e.seqs] for e in simulation.database.events]
    report.fingerprint = blake2b(canonical([seen, held, log]).encode(), digest_size=16).hexdigest()


def _place_peeks(simulation: Simulation, rows: list[Row], model: LedgerModel) -> None:
    """A peek names no seq: find the latest at which its answer is right, to be checked like any other read."""
    initial = canonical(list(model.initial().values()))
    states: dict[str, list[str]] = {}
    for key, journal in rows_by_object(rows).items():
        state = model.initial()
        states[key] = [initial]
        # A journal that cannot be replayed is for the witness to find.
        with contextlib.suppress(ValueError):
            for row in journal:
                deltas.apply(state, row.delta)
                states[key].append(canonical(list(state.values())))
    for operation in simulation.history:
        if operation.method == "peek" and operation.outcome is Outcome.OK:
            seen = canonical(operation.result)
            operation.method, operation.guessed = "look", True
            known = states.get(operation.object, [initial])
            operation.saw = max((seq for seq, state in enumerate(known) if state == seen), default=None)


def _search(simulation: Simulation) -> None:
    """A second opinion on the objects with few calls."""
    calls: dict[str, dict[str, list[Operation]]] = defaultdict(lambda: defaultdict(list))
    for operation in simulation.history:
        if "boom" not in operation.method and not operation.guessed:
            calls[operation.object][operation.id].append(operation)
    for key, by_id in calls.items():
        if len(by_id) > SEARCHED:
            continue
        history = [one for attempts in by_id.values() for one in _invocations(attempts)]
        verdict = search(history, INITIAL, apply, budget=SEARCH_BUDGET)
        simulation.report.searched += verdict is not Verdict.SPENT
        simulation.report.spent += verdict is Verdict.SPENT
        if verdict is Verdict.VIOLATION:
            simulation.violate("unexplained", key, f"no order of its {len(history)} calls explains the answers")


# ---------------------------------------------------------------- the search's model

INITIAL = (0, 0, (), ())


def _invocations(attempts: list[Operation]) -> list[Invocation]:
    """One call for the search: none if it cannot have had an effect."""
    model = LedgerModel()
    first = attempts[0]
    invoked = min(one.invoked for one in attempts)
    found = []
    answered = []
    for one in attempts:
        absent = one.outcome is Outcome.REFUSED and one.saw == 0
        row = model.writes(one.method) or (one.own_id and model.recorded(one.method) and not absent)
        if one.outcome in (Outcome.OK, Outcome.REFUSED) and one.completed is not None and (row or not one.stale_allowed):
            if absent:
                # An absent object remembers nothing: sent again, the call is made again.
                found.append(Invocation(invoked, one.completed, (one.method, tuple(one.args), False), _answer(one)))
            else:
                answered.append(one)
    if answered:
        done = min(answered, key=lambda one: one.completed or 0)
        found.append(Invocation(invoked, done.completed, (first.method, tuple(first.args), first.own_id), _answer(done)))
    elif model.recorded(first.method) and any(one.outcome is Outcome.UNKNOWN for one in attempts):
        found.append(Invocation(invoked, None, (first.method, tuple(first.args), first.own_id)))
    return found


def _answer(operation: Operation) -> str:
    return canonical([operation.outcome is Outcome.REFUSED, operation.saw, operation.result])


def apply(state: Any, call: Any) -> tuple[Any, Any]:
    """The model, with the rules of when a call takes a place in the order."""
    model = LedgerModel()
    seq, value, counts, recent = state
    method, args, own = call
    step = model.step({"value": value, "counts": dict(counts), "recent": list(recent)}, method, list(args))
    row = model.writes(method) or (own and model.recorded(method) and not (step.refused and seq == 0))
    after = (seq + row, step.state["value"], tuple(sorted(step.state["counts"].items())), tuple(step.state["recent"]))
    return after, canonical([step.refused, seq, step.result])
