"""The actions on services."""

from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Cancelled, Change, Done, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.service.manager import UP, Activity, Boot, Manager, manager_named, native
from requisition.stdlib.spec import Output, slot

S = TypeVar("S", bound=Struct)

Name = Annotated[str, slot("string", "the service", writes=True)]
By = Annotated[str, slot("string", "systemd, runit, sysv or launchd; by default the one that runs the machine")]
Timeout = Annotated[int, slot("duration", "how long it may take")]
OnChange = Annotated[
    bool, slot("bool", "only when something that the node waits for was changed in this run; False: each time")
]
ONE = ("name", "manager")
NAME = (Output("name", "string", "the service, by its full name"),)


class ActivitySlots(Struct, frozen=True):
    name: Name
    manager: By = ""
    timeout: Timeout = 90_000


class ReactiveSlots(Struct, frozen=True):
    name: Name
    manager: By = ""
    on_change: OnChange = True
    timeout: Timeout = 90_000


class BootSlots(Struct, frozen=True):
    name: Name
    manager: By = ""


class Service:
    """One service as an action sees it."""

    def __init__(self, host: Host, manager: str, name: str, timeout_ms: int = 0) -> None:
        named = manager or native(host)
        if not named:
            raise ActionError("nothing that runs services is known here", "name it: manager = ...")
        self.manager: Manager = manager_named(named)
        self.name = self.manager.full_name(name)
        self._host = host
        self._timeout = timeout_ms

    @classmethod
    def of(cls, host: Host, slots: Any) -> "Service":
        """The one that slots name. Raises ActionError when there is none."""
        service = cls(host, slots.manager, slots.name, getattr(slots, "timeout", 0))
        if service.activity() == "unknown":
            raise ActionError(
                f"{service.manager.name} knows no service {service.name}",
                "check the name; if something installs it, say so: after = [...]",
            )
        return service

    def activity(self) -> Activity:
        """Whether it runs."""
        return self.manager.activity(self._host, self.name)

    def act(self, verb: str) -> None:
        """start, stop, restart or reload, and look again."""
        try:
            getattr(self.manager, verb)(self._host, self.name, self._timeout)
        finally:
            self._host.forget_answers()

    def started(self, verb: str) -> None:
        """The same, for what must run afterwards. Raises ActionError."""
        self.act(verb)
        now = self.activity()
        if now != "running":
            raise ActionError(
                f"{self.manager.name} has done {verb} for {self.name}, and it is {now}",
                "look at its log; a job that ends by itself is for plan.shell.exec",
            )

    def resource(self, kind: str = "") -> str:
        """Its name in the state view: `systemd:nginx.service`, `systemd-boot:nginx.service`."""
        return f"{self.manager.name}{kind}:{self.name}"

    def trace(self, was: Activity) -> Any:
        """Undo data."""
        return {"manager": self.manager.name, "name": self.name, "timeout": self._timeout, "was": was}


def _traced(host: Host, undo: Any) -> Service:
    return Service(host, undo["manager"], undo["name"], undo["timeout"])


class _Activity(BaseAction[ActivitySlots]):
    """Start and stop: the other way round they undo each other."""

    slots = ActivitySlots
    verb: ClassVar[str]
    wanted: ClassVar[tuple[Activity, ...]]

    def observe(self, host: Host, slots: ActivitySlots) -> Satisfied | Change:
        """Does it run?"""
        service = Service.of(host, slots)
        now = service.activity()
        if now in self.wanted:
            return Satisfied({"name": service.name}, (self._left(service),))
        return Change(f"{service.name} is {now}", undo=service.trace(now), outputs={"name": service.name})

    def do(self, host: Host, slots: ActivitySlots, change: Change) -> Done:
        """Start or stop it."""
        service = Service.of(host, slots)
        if self.verb == "start":
            service.started("start")
        else:
            service.act("stop")
            if service.activity() in UP:
                raise ActionError(f"{service.name} is {service.activity()} after it was stopped", "look at its log")
        return Done({"name": service.name}, (self._left(service),))

    def undo(self, host: Host, undo: Any) -> None:
        """Start what ran, stop what did not; a service that is gone by now, or already as before, is let be."""
        service = _traced(host, undo)
        now = service.activity()
        if now == "unknown" or (now in UP) == (undo["was"] in UP):
            return
        service.act("start" if undo["was"] in UP else "stop")

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """What runs now, with one look a manager. A service whose state is lost does not hide that of others."""
        return tuple(self._found(host, one.path) for one in left)

    def _found(self, host: Host, path: str) -> Left:
        try:
            return self._left(_resource(host, path))
        except Cancelled:
            raise
        except ActionError as error:
            host.log(f"{path}: {error}")
            return Left(path, "token")

    def _left(self, service: Service) -> Left:
        now = service.activity()
        if now == "unknown":
            return Left(service.resource(), "absent")
        return Left(service.resource(), "token", token=self.wanted[0] if now in self.wanted else now)


def _resource(host: Host, path: str) -> Service:
    kind, _, name = path.partition(":")
    return Service(host, kind.removesuffix("-boot"), name)


@action("service.start", outputs=NAME, effect="outside", blocking=True, renews=ONE)
class Start(_Activity):
    """Have a service run. A rollback stops it again, if it did not run before."""

    verb = "start"
    wanted = ("running",)


@action("service.stop", outputs=NAME, effect="outside", blocking=True)
class Stop(_Activity):
    """Have a service not run. A rollback starts it again, if it ran before."""

    verb = "stop"
    wanted = ("stopped", "failed")


@action("service.restart", effect="outside", blocking=True, reactive="on_change", renews=ONE)
class Restart(BaseAction[ReactiveSlots]):
    """Restart a service because something changed that the node waits for (`after`), unless the service was started
    since. A rollback restarts it again, when everything else is as it was before, so that it runs with its old files;
    or stops it, if it did not run."""

    slots = ReactiveSlots

    def observe(self, host: Host, slots: ReactiveSlots) -> Satisfied | Change:
        """There is something to do whenever this is asked: the runtime asks only then."""
        service = Service.of(host, slots)
        return Change(f"{service.name} is {service.activity()}", undo=service.trace(service.activity()))

    def do(self, host: Host, slots: ReactiveSlots, change: Change) -> Done:
        """Restart it. It must run afterwards."""
        Service.of(host, slots).started("restart")
        return Done()

    def undo(self, host: Host, undo: Any) -> None:
        """See the class. What someone stopped since stays so."""
        service = _traced(host, undo)
        now = service.activity()
        if undo["was"] in UP:
            if now in (*UP, "failed") or (now == "stopped" and not service.manager.tells_failure):
                service.act("restart")
        elif now in UP:
            service.act("stop")


@action("service.reload", effect="outside", blocking=True, reactive="on_change")
class Reload(BaseAction[ReactiveSlots]):
    """Have a service read its configuration again, because something changed that the node waits for (`after`), unless
    the service was started since. One that does not run reads it when it starts. A rollback has it read the old one,
    when that is back."""

    slots = ReactiveSlots

    def observe(self, host: Host, slots: ReactiveSlots) -> Satisfied | Change:
        """Does it run?"""
        service = Service.of(host, slots)
        now = service.activity()
        return Change(f"{service.name} is running", undo=service.trace(now)) if now == "running" else Satisfied()

    def do(self, host: Host, slots: ReactiveSlots, change: Change) -> Done:
        """Reload it. It must run afterwards."""
        Service.of(host, slots).started("reload")
        return Done()

    def undo(self, host: Host, undo: Any) -> None:
        """See the class. One that the reload brought down is started."""
        service = _traced(host, undo)
        now = service.activity()
        if now == "running":
            service.act("reload")
        elif now in ("failing", "failed"):
            service.act("restart")


class _Boot(BaseAction[BootSlots]):
    """Enable and disable: the other way round they undo each other."""

    slots = BootSlots
    enabled: ClassVar[bool]

    def observe(self, host: Host, slots: BootSlots) -> Satisfied | Change:
        """Is it started with the machine?"""
        service = Service(host, slots.manager, slots.name)
        manager, name = service.manager, service.name
        boot = manager.at_boot(host, name)
        outputs = {"name": name}
        if boot.enabled == self.enabled:
            return Satisfied(outputs, (_boot_left(service, boot),))
        if not boot.known:
            raise ActionError(
                f"{manager.name} knows no service {name}",
                "check the name; if something installs it, say so: after = [...]",
            )
        if boot.fixed:
            raise ActionError(f"{name} cannot be {self._word()}: {boot.fixed}", "start what needs it, or see its unit")
        files = manager.boot_files(host, name, enabled=self.enabled)
        undo = {"manager": manager.name, "name": name, "was": msgspec.to_builtins(boot)}
        return Change(f"{name} is {_token(boot)}", files, (None,) * len(files), undo, outputs)

    def do(self, host: Host, slots: BootSlots, change: Change) -> Done:
        """By its files where they are known, else by the manager's own command."""
        service = Service(host, slots.manager, slots.name)
        for one in change.files:
            if one.expect.kind == "link":
                host.make_link(one)
            else:
                host.delete(one)
        if not change.files:
            service.manager.set_boot(host, service.name, enabled=self.enabled)
        host.forget_answers()
        boot = service.manager.at_boot(host, service.name)
        if boot.enabled != self.enabled:
            raise ActionError(f"{service.name} is {_token(boot)} after it was {self._word()}", boot.fixed)
        return Done({"name": service.name}, (_boot_left(service, boot), *(one.expect for one in change.files)))

    def undo(self, host: Host, undo: Any) -> None:
        """As it was, where it is no longer so; files are restored by the runtime."""
        service = Service(host, undo["manager"], undo["name"])
        was, now = msgspec.convert(undo["was"], Boot), service.manager.at_boot(host, service.name)
        if now.known and now.enabled == self.enabled:
            service.manager.restore_boot(host, service.name, was)

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """What is enabled now, with one look a manager."""
        services = [_resource(host, one.path) for one in left]
        return tuple(_boot_left(one, one.manager.at_boot(host, one.name)) for one in services)

    def _word(self) -> str:
        return "enabled" if self.enabled else "disabled"


def _token(boot: Boot) -> str:
    return "enabled" if boot.enabled else "disabled"


def _boot_left(service: Service, boot: Boot) -> Left:
    path = service.resource("-boot")
    return Left(path, "token", token=_token(boot)) if boot.known else Left(path, "absent")


@action("service.enable", outputs=NAME, effect="outside")
class Enable(_Boot):
    """Have a service start with the machine. A rollback disables it again."""

    enabled = True


@action("service.disable", outputs=NAME, effect="outside")
class Disable(_Boot):
    """Have a service not start with the machine. A rollback enables it again."""

    enabled = False
