"""Orders on this machine: to install one, and to go back. Each step can be repeated: one that was cut off is found in
the receipts (`past`), and gone on with.
"""

import asyncio
import os
from collections.abc import Iterator

from requisition.runtime.frames import EXIT_CODES, Request, Verb
from requisition.runtime.layout import root_directory
from requisition.runtime.lock import is_held
from requisition.schemas.diagnostic import BadInput, Failure
from requisition.services.fleet.agent.cache import Cache
from requisition.services.fleet.agent.past import Ours, ours, settled_runs, standing, to_take_back
from requisition.services.fleet.agent.runtime import Runtime, explained
from requisition.services.fleet.agent.spool import Spool
from requisition.services.fleet.agent_state import RollbackEnded, RunDeferred, RunEnded

_PAUSE = 0.1
_PATIENCE = 120.0
_MOST_SECRET = 1 << 20


class Undone(Exception):
    """The runtime did not do what was asked: its exit code, and why."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code, self.reason = exit_code, reason


class Orders:
    """What is done with orders on one target root. `secrets`: names that orders use, and the files they are in. `mark`:
    a file that is there when the machine must be started again, "" for none."""

    def __init__(
        self, runtime: Runtime, cache: Cache, spool: Spool, *, root: str, trust: str, secrets: dict[str, str], mark: str
    ) -> None:
        self._runtime, self._cache, self._spool = runtime, cache, spool
        self._root, self._trust, self._secrets, self._mark = root, trust, secrets, mark

    async def standing(self) -> str:
        """The order that stands here whole, "" when none does."""
        last = standing(await self._ours())
        return last.order if last is not None and last.whole else ""

    async def _touched(self) -> str:
        """The order of which something stands: after a failure a half one is one to go back from."""
        last = standing(await self._ours())
        return last.order if last is not None else ""

    def awaits_restart(self) -> bool:
        """Whether the machine says that it must be started again."""
        return bool(self._mark) and os.path.exists(self._mark)

    async def install(self, order: str) -> RunEnded | RunDeferred:
        """Run an order, or go on with its run that was cut off."""
        await self._free()
        marked = self.awaits_restart()
        try:
            cut_off = [one for one in await self._ours() if one.info.state == "running"]
            for one in cut_off:
                if one.order != order:
                    await self._do("rollback", one.info.run_id)
            mine = next((one.info.run_id for one in cut_off if one.order == order), "")
            if mine:
                await self._do("resume", mine)
            else:
                await self._do("apply", order=order)
        except Undone as undone:
            return RunEnded(ok=False, standing=await self._touched(), exit_code=undone.exit_code, reason=undone.reason)
        if self.awaits_restart() and not marked:
            return RunDeferred("machine")
        return RunEnded(ok=True, standing=await self.standing())

    async def take_back(self, order: str, prior: str) -> RollbackEnded:
        """Go back from `order` to where `prior` stood last; install that where no run of it stands any more."""
        await self._free()
        try:
            for run_id in to_take_back(await self._ours(), order, prior):
                await self._do("rollback", run_id)
            if prior and await self.standing() != prior:
                await self._do("apply", order=prior, downgrade=True)
        except Undone as undone:
            return RollbackEnded(
                ok=False, standing=await self._touched(), exit_code=undone.exit_code, reason=undone.reason
            )
        # Of an order that found everything as it wants it there is nothing to take back: then nothing stands.
        return RollbackEnded(ok=True, standing=await self.standing() if prior else "")

    async def drift(self) -> str:
        """How the machine differs from what receipts say was left; "" when it does not. Raises Failure."""
        result = await self._runtime.ask(
            Request(verb="status", state_dir=self._runtime.state_dir, target_root=self._root)
        )
        if result.status == "changes":
            return ", ".join(f"{count} {kind}" for kind, count in result.summary.items() if kind != "ok" and count)
        return explained(result)

    async def _do(self, verb: Verb, run_id: str = "", *, order: str = "", downgrade: bool = False) -> None:
        """Raises Undone."""
        try:
            request = Request(
                verb=verb,
                state_dir=self._runtime.state_dir,
                run_id=run_id,
                order_path=self._cache.path(order) if order else "",
                target_root=self._root if order else "",
                trust_path=self._trust,
                allow_downgrade=downgrade,
                secrets=dict(self._known_secrets(needed=verb != "rollback")),
            )
            result = await self._runtime.ask(request)
        except Failure as failure:
            raise Undone(failure.exit_code, _line(failure)) from failure
        if result.status != "done":
            raise Undone(EXIT_CODES[result.status], explained(result))

    def _known_secrets(self, *, needed: bool) -> Iterator[tuple[str, str]]:
        """Raises BadInput for one that cannot be read, where it is needed: to go back most orders need none."""
        for name, path in self._secrets.items():
            try:
                yield name, _secret(name, path)
            except BadInput:
                if needed:
                    raise

    async def _ours(self) -> tuple[Ours, ...]:
        past = await asyncio.to_thread(settled_runs, self._runtime.state_dir)
        return ours(past, await self._spool.orders())

    async def _free(self) -> None:
        """Wait for a run that another life of this agent began: told to stop, it takes back what it did."""
        lock = f"{root_directory(self._runtime.state_dir, self._root)}/lock"
        until = asyncio.get_running_loop().time() + _PATIENCE
        while is_held(lock) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_PAUSE)


def _secret(name: str, path: str) -> str:
    """Raises BadInput."""
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_SECRET).decode().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise BadInput.of(f"the secret {name} cannot be read", where=path, why=why or "") from error


def _line(failure: Failure) -> str:
    first = failure.diagnostics[0]
    return f"{first.what}: {first.why}" if first.why else first.what
