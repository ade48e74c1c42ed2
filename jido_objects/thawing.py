"""Into memory: find the object's row, bury its owner if that is dead, claim it, read it, and start to execute what waits.

Snapshot and tail are read in a statement of their own after the claim has returned: what an earlier owner had in flight is
decided by then. Whatever changes meanwhile, trust, term or the activation itself, is looked at again before it lives.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from . import events
from .activation import Activation, Status
from .errors import CallFailed, JidoError, NotHosting, OwnedElsewhere, OwnershipLost, StateError, StoreError, StoreUnavailable, text_of
from .limits import PATIENCE
from .logs import about
from .rebuilding import check_version
from .stores.protocol import Claim, Owner
from .turns import Name, describe, own, start_over

if TYPE_CHECKING:
    from .host import Host

logger = logging.getLogger("jido_objects.host")


class Thawing:
    """What a host does to bring its activations to life."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def thaw(self, activation: Activation, before: Activation | None) -> None:
        """Bring an activation to life, after the one ``before`` it has closed; or tell its callers why not."""
        host = self._host
        began = host.clock.monotonic()
        if before is not None and before.closed is not None:
            # Its rows in flight decide what this one will find.
            calls = await before.closed
            if activation.status is Status.GONE:
                host.redo(activation.name, calls)
                return
            start_over(calls)
            activation.accept_first(calls)
        try:
            if activation.mailbox:
                await host.ask(lambda: self._once(activation, began))
            elif host.activations.get(activation.name) is activation:
                del host.activations[activation.name]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, JidoError):
                logger.exception("%s could not be activated", describe(activation.name), extra=about(name=activation.name))
                error = StoreError(f"{describe(activation.name)} could not be activated: {type(error).__name__}: {error}")
            if activation.status is not Status.GONE:
                for call in host.remove(activation):
                    call.fail(own(error))

    async def _once(self, activation: Activation, began: float) -> None:
        host = self._host
        name = activation.name
        for _ in range(20):
            lease = None
            if host.settings.may_host:
                lease = await host.term()
                if not lease.trusted():
                    await self._wait_for_trust()
                    continue
            waiting = set(activation.mailbox)
            activation.stored, found = await host.find(activation.definition, name)
            if not activation.is_thawing():
                return
            if found is not None and found.owner is not None and found.owner.present and (lease is None or found.owner.term != lease.term):
                await self.take_over(name, found.owner)
                continue
            if lease is None:
                raise NotHosting(describe(name))
            if host.lease is not lease:
                # What it wrote would go to a pipeline that has closed.
                continue
            if found is None:
                activation.embody_absent()
                activation.absent_for = waiting
                await self._run_on_thaw(activation)
                if activation.is_thawing() and host.lease is lease:
                    self._go_live(activation, began)
                    return
                if not activation.is_thawing():
                    return
                continue
            # Before the claim, which would keep newer code from it for as long as this term lives. What is written between this
            # look and the claim is written under another epoch, and the claim is not valid then.
            check_version(activation.definition, name, found.version)
            ours = found.owner is not None and found.owner.term == lease.term
            epoch = await host.pipeline.claim(Claim(found.id, found.epoch, again=ours))
            if epoch is None:
                continue
            loaded = await host.load(name, found.id)
            if activation.is_thawing() and host.lease is lease:
                activation.embody(found.id, epoch, loaded)
                await self._run_on_thaw(activation)
                if activation.is_thawing() and host.lease is lease:
                    self._go_live(activation, began)
                    return
            if not activation.is_thawing():
                return
        raise OwnershipLost(describe(name))

    def _go_live(self, activation: Activation, began: float) -> None:
        if events.listening:
            events.emit(events.ActivationThawed(*activation.name, activation.tail, self._host.clock.monotonic() - began))
        activation.go_live()

    async def _wait_for_trust(self) -> None:
        host = self._host
        try:
            await asyncio.wait_for(host.trust_returned.wait(), PATIENCE)
        except TimeoutError:
            raise StoreUnavailable("the lease of this host could not be renewed") from None
        host.trust_returned.clear()

    async def take_over(self, name: Name, owner: Owner) -> None:
        """Bury the owner if it is dead; raises ``OwnedElsewhere`` if it may live."""
        host = self._host
        proven = owner.info is not None and host.proven_dead(owner.info)
        # The leases of hosts that the database (or our way to it) kept from renewing say nothing about them: for one
        # lease after we have come to see it, only proof counts.
        settled = host.clock.monotonic() - host.started_at >= host.settings.lease_seconds
        may = proven or not host.store.liveness_by_lease or (owner.lease_left < 0 and settled)
        if may and await host.store.bury(owner.term, proven=proven):
            logger.info("Buried term %s, which owned %s", owner.term, describe(name), extra=about(name=name, term=owner.term))
            if events.listening:
                events.emit(events.TermBuried(owner.term, proven))
            return
        who = owner.info
        described = f"term {owner.term}, process {who.pid} on {who.hostname or 'an unknown machine'}" if who else f"term {owner.term}"
        raise OwnedElsewhere(describe(name), described)

    async def _run_on_thaw(self, activation: Activation) -> None:
        hook = activation.definition.hooks.get("on_thaw")
        if hook is None:
            return
        try:
            made = hook(activation.instance)
            if asyncio.iscoroutine(made):
                await asyncio.wait_for(made, activation.options.turn_timeout)
        except Exception as error:
            logger.exception("%s.on_thaw raised", describe(activation.name), extra=about(name=activation.name))
            text = text_of(error).removesuffix(".")
            if isinstance(error, StateError):
                text = "it may set Transient attributes only; what is to be stored belongs in on_create or a method"
            raise CallFailed(f"{describe(activation.name)}.on_thaw", type(error).__name__, text) from error
