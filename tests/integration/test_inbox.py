"""Alarms and sends on real databases: what is set is called once, whoever dies in between."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from jido_objects import process
from jido_objects.errors import BlockingCall, CallFailed, InvalidArguments, MessageTooLarge
from jido_objects.models import Inbox, Journal, Object, Term
from tests.app.objects import Clockwork
from tests.child import child


def _await(probe: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def _rang(key: str, *what: str) -> None:
    _await(lambda: ((Clockwork.at(key).peek() or {}).get("rang") or []) == list(what))


def _hibernate(key: str) -> None:
    running = process.running()
    assert running is not None
    host = running.host
    assert host is not None

    def gone() -> bool:
        activation = next((a for (_, k), a in list(host.activations.items()) if k == key), None)
        if activation is not None:
            running.loop.call_soon_threadsafe(host.hibernate, activation)
        return activation is None

    _await(gone)


def test_an_alarm_fires_once_and_is_gone(database: str) -> None:
    a = Clockwork.at("a")
    assert a.call(Clockwork.set, "x", 0.05, "one") == "x"
    assert a.get("pending") == [("x", "ring")]
    _rang("a", "one")
    assert a.get("pending") == []
    _await(lambda: not Inbox.objects.using(database).exists())
    rows = Journal.objects.using(database).filter(object__key="a").order_by("seq")
    assert [row.method for row in rows] == ["set", "ring"]
    assert a.peek() == {"rang": ["one"], "attempts": 0, "fails": 0, "calm": False}


def test_alarms_without_a_name_are_all_kept(database: str) -> None:
    a = Clockwork.at("a")
    names = {a.call(Clockwork.set, None, 3600.0), a.call(Clockwork.set, None, 3600.0)}
    assert names == {"ring#1.1", "ring#2.1"}
    assert {name for name, _ in a.get("pending")} == names
    assert Inbox.objects.using(database).count() == 2


def test_a_turn_that_is_rolled_back_leaves_no_alarm_and_no_message(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "x", 3600.0)
    with pytest.raises(CallFailed):
        a.call(Clockwork.set_and_fail, "x")
    with pytest.raises(CallFailed):
        a.call(Clockwork.tell_and_fail, Clockwork.at("b"))
    assert [(row.name, row.args) for row in Inbox.objects.using(database).all()] == [("x", '["x"]')]
    assert a.get("due_in")[0] > 3000
    assert not Clockwork.at("b").exists()


def test_an_alarm_is_replaced_moved_and_taken_back(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "x", 3600.0, "slow")
    (row,) = Inbox.objects.using(database).all()
    a.call(Clockwork.set, "x", 7200.0, "slow")
    # Later costs no write.
    assert Inbox.objects.using(database).get().due == row.due
    assert a.get("due_in")[0] > 7000
    a.call(Clockwork.set, "x", 3000.0, "slow")
    assert Inbox.objects.using(database).get().due < row.due
    a.call(Clockwork.set, "x", 9000.0, "other")
    assert Inbox.objects.using(database).get().args == '["other"]'
    assert a.call(Clockwork.drop, "x") is True
    assert a.call(Clockwork.drop, "x") is False
    assert not Inbox.objects.using(database).exists()
    a.call(Clockwork.set, "x", 3600.0, "slow")
    a.call(Clockwork.set, "x", 0.0, "now")
    _rang("a", "now")


def test_a_watchdog_that_was_moved_fires_at_its_new_time(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "dog", 0.3, "bark")
    began = time.monotonic()
    a.call(Clockwork.set, "dog", 1.5, "bark")
    written = Inbox.objects.using(database).get().due
    _rang("a", "bark")
    assert time.monotonic() - began > 1.4
    assert not Inbox.objects.using(database).exists()
    assert written is not None


def test_an_alarm_recurs_and_its_rows_follow(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "tick", None, "t", 0.1)
    _await(lambda: len((a.peek() or {"rang": []})["rang"]) >= 4)
    assert a.get("pending") == [("tick", "ring")]
    a.call(Clockwork.drop, "tick")
    count = len(a.get("rang"))
    assert not Inbox.objects.using(database).exists()
    assert Journal.objects.using(database).filter(object__key="a", method="ring").count() == count


def test_an_alarm_may_set_itself_again(database: str) -> None:
    a = Clockwork.at("a")
    a.call("again", 3)
    _rang("a", "again 3", "again 2", "again 1", "again 0")
    _await(lambda: not Inbox.objects.using(database).exists())


def test_an_object_at_rest_is_woken(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "x", 0.5, "up")
    _hibernate("a")
    _rang("a", "up")


def test_what_was_missed_while_nobody_ran_is_made_up_for(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "x", 0.3, "late")
    process.stop()
    row = Inbox.objects.using(database).get()
    _await(lambda: (timedelta(seconds=0.3) + row.created_at) < timezone.now())
    assert Clockwork.at("other").call(Clockwork.ring, "hello") == 1
    _rang("a", "late")


def test_a_method_that_fails_is_tried_again_later(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set_failing)
    row = _await(lambda: Inbox.objects.using(database).filter(attempts__gte=1, last_error__isnull=False).first())
    assert "still angry" in row.last_error
    assert a.get("rang") == []
    assert a.get("pending") == [("f", "fail")]
    a.call(Clockwork.calm_down)
    _rang("a", "not kept")
    _await(lambda: not Inbox.objects.using(database).exists())


def test_one_that_fails_too_often_is_a_dead_letter_and_can_be_revived(database: str) -> None:
    a = Clockwork.at("a")
    a.call(Clockwork.set, "far", 3600.0)
    a.call(Clockwork.set_failing)
    _await(lambda: Inbox.objects.using(database).filter(name="f", attempts=1, taker=None, last_error__isnull=False).exists())
    Inbox.objects.using(database).filter(name="f").update(attempts=9)
    row = _await(lambda: Inbox.objects.using(database).filter(name="f", dead=True).first())
    assert row.attempts == 10
    a.call(Clockwork.calm_down)
    Inbox.objects.using(database).filter(name="f").update(dead=False)
    _rang("a", "not kept")


def test_messages_of_one_sender_arrive_in_their_order_once(database: str) -> None:
    a, b = Clockwork.at("a"), Clockwork.at("b")
    wanted = []
    for n in range(20):
        told = [f"{n}.{i}" for i in range(3)]
        a.call(Clockwork.tell, b, *told)
        wanted += told
    _rang("b", *wanted)
    _await(lambda: not Inbox.objects.using(database).exists())
    assert Journal.objects.using(database).filter(object__key="b").count() == 60


def test_a_refused_message_is_a_dead_letter_and_the_next_one_passes(database: str) -> None:
    Clockwork.at("a").call(Clockwork.tell_badly, Clockwork.at("b"))
    _rang("b", "first", "last")
    row = Inbox.objects.using(database).get()
    assert (row.dead, row.method, row.attempts) == (True, "refuse", 1)
    assert row.last_error == "Refused: Refused 3."


def test_a_killed_process_s_alarms_and_messages_are_another_s(database: str, settings: Any) -> None:
    options = dict(settings.JIDO_OBJECTS)
    with child(options) as other:
        assert other.ask("Clockwork.at('a').call('set', 'x', 0.6, 'survived')") == "'x'"
        other.send("(Clockwork.at('a').call('tell', Clockwork.at('b'), '1', '2', '3'), os.kill(os.getpid(), 9))")
        other.process.wait()
    assert Clockwork.at("c").call(Clockwork.ring, "here") == 1
    _rang("a", "survived")
    _rang("b", "1", "2", "3")
    assert Object.objects.using(database).filter(key="b").exists()


def test_alarms_and_messages_while_processes_are_killed(database: str, settings: Any) -> None:
    options = dict(settings.JIDO_OBJECTS)
    settings.JIDO_OBJECTS = options | {"HOST": "never"}
    keys = [f"k{n}" for n in range(8)]
    wanted: dict[str, list[str]] = {key: [] for key in keys}
    for round_ in range(4):
        with child(options) as other:
            for key in keys:
                what = f"{round_}.{key}"
                # Wherever the last process was killed: its alarms and messages fire in this one, between these calls.
                assert other.ask(f"Clockwork.at({key!r}).call('set', 'n{round_}', {round_ * 0.05}, {what!r})") == repr(f"n{round_}")
                assert other.ask(f"Clockwork.at('sender').call('tell', Clockwork.at({key!r}), '+{what}', '++{what}')") == "None"
                wanted[key] += [what, f"+{what}", f"++{what}"]
            other.process.kill()
            other.process.wait()
    settings.JIDO_OBJECTS = options
    process.stop()
    Clockwork.at("here").call(Clockwork.ring, "x")
    for key in keys:
        _await(lambda key=key: sorted(Clockwork.at(key).get("rang")) == sorted(wanted[key]))
        sent = [what for what in Clockwork.at(key).get("rang") if what.startswith("+")]
        assert sent == [what for what in wanted[key] if what.startswith("+")]
    _await(lambda: not Inbox.objects.using(database).exists())
    for key in keys:
        assert sorted(Clockwork.at(key).get("rang")) == sorted(wanted[key])


def test_a_message_that_ends_its_processes_is_a_dead_letter(database: str) -> None:
    Inbox.objects.using(database).create(
        type="app.Clockwork", key="a", method="ring", args='["x"]', kwargs="{}", due=timezone.now(), not_before=timezone.now(), attempts=30
    )
    Clockwork.at("b").call(Clockwork.ring, "here")
    row = _await(lambda: Inbox.objects.using(database).filter(dead=True).first())
    assert "never ended" in row.last_error
    assert not Clockwork.at("a").exists()


def test_a_message_is_part_of_its_sender_s_transaction(database: str) -> None:
    a = Clockwork.at("a")
    with transaction.atomic(using=database):
        a.send(Clockwork.ring, "kept")
    with transaction.atomic(using=database):
        a.send(Clockwork.ring, "never")
        transaction.set_rollback(True, using=database)
    a.send("ring", "after")
    _await(lambda: set((a.peek() or {"rang": []})["rang"]) == {"kept", "after"})
    _await(lambda: not Inbox.objects.using(database).exists())


def test_a_message_under_its_caller_s_own_id_is_applied_once(database: str) -> None:
    a = Clockwork.at("a")
    assert a.using(call_id="event-1").call(Clockwork.ring, "once") == 1
    assert a.using(call_id="event-1").send(Clockwork.ring, "once") == "event-1"
    assert a.using(call_id="event-2").send(Clockwork.ring, "twice") == "event-2"
    _rang("a", "once", "twice")
    _await(lambda: not Inbox.objects.using(database).exists())
    assert a.using(call_id="event-2").call(Clockwork.ring, "twice") == 2
    assert a.get("rang") == ["once", "twice"]


def test_send_in_a_running_loop_names_asend(database: str) -> None:
    import asyncio

    a = Clockwork.at("a")

    async def run() -> str:
        with pytest.raises(BlockingCall, match="asend"):
            a.send(Clockwork.ring, "no")
        return await a.asend(Clockwork.ring, "yes")

    assert asyncio.run(run()).startswith("~")
    _rang("a", "yes")


def test_what_cannot_be_sent(database: str) -> None:
    a = Clockwork.at("a")
    with pytest.raises(InvalidArguments, match="@query"):
        a.send("pending")
    with pytest.raises(InvalidArguments, match="there is no parameter"):
        a.send("ring", "x", whatever=1)
    with pytest.raises(MessageTooLarge):
        a.send("ring", "x" * 2_000_000)
    assert not Inbox.objects.using(database).exists()


def test_a_message_is_delivered_though_its_sender_dies_after_the_commit(database: str, settings: Any) -> None:
    with child(dict(settings.JIDO_OBJECTS) | {"HOST": "never"}) as other:
        other.send("(Clockwork.at('a').send('ring', 'survived'), os.kill(os.getpid(), 9))")
        other.process.wait()
    assert Inbox.objects.using(database).get().method == "ring"
    Clockwork.at("b").call(Clockwork.ring, "here")
    _rang("a", "survived")


def test_a_dedicated_host_needs_no_arguments_and_ends_cleanly(database: str, settings: Any) -> None:
    options = dict(settings.JIDO_OBJECTS)
    settings.JIDO_OBJECTS = options | {"HOST": "never"}
    Clockwork.at("a").send(Clockwork.set, "x", 0.2, "fired")
    with child(options) as other:
        other.send("__import__('django.core.management').core.management.call_command('jido_host', stdout=__import__('sys').stderr)")
        _rang("a", "fired")
        other.process.send_signal(signal.SIGTERM)
        assert other.receive() == "None"
        assert other.end() == 0
    assert not Term.objects.using(database).exists()
    assert not Inbox.objects.using(database).exists()


def test_a_paused_process_delivers_nothing(database: str, settings: Any) -> None:
    options = settings.JIDO_OBJECTS
    settings.JIDO_OBJECTS = options | {"PAUSED": True}
    a = Clockwork.at("a")
    a.call(Clockwork.set, "x", 0.0, "later")
    a.send(Clockwork.ring, "sent")
    process.stop()
    assert [row.attempts for row in Inbox.objects.using(database).all()] == [0, 0]
    settings.JIDO_OBJECTS = options
    assert Clockwork.at("b").call(Clockwork.ring, "here") == 1
    _await(lambda: sorted(a.get("rang")) == ["later", "sent"])


@pytest.mark.parametrize(
    ("argv", "short"),
    [
        (["manage.py", "migrate"], True),
        (["/srv/site/manage.py", "shell"], True),
        (["/usr/bin/django-admin", "storm"], True),
        (["/venv/django/__main__.py", "check"], True),
        (["manage.py", "runserver", "8000"], False),
        (["manage.py", "jido_host"], False),
        (["manage.py"], False),
        (["/usr/bin/gunicorn", "site.wsgi"], False),
        (["script.py", "migrate"], False),
        ([""], False),
    ],
)
def test_which_processes_leave_the_messages_of_others_alone(argv: list[str], short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert process.short_lived() is short


def test_a_command_delivers_to_its_own_objects_only(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["manage.py", "import"])
    mine = Clockwork.at("mine")
    Clockwork.at("theirs").send(Clockwork.ring, "not by us")
    mine.call(Clockwork.ring, "called")
    mine.call(Clockwork.set, "x", 0.0, "fired")
    _rang("mine", "called", "fired")
    assert [(row.key, row.attempts) for row in Inbox.objects.using(database).all()] == [("theirs", 0)]
