"""Runs on a far machine: its plan-runtime at the other end of ssh, spoken to in the same frames.

The order and every file that it reads go along as one bundle, inside of the protocol, as do secrets. The far
machine verifies all of it under its own trust policy. Its receipts are kept here too.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from io import BufferedWriter
from typing import BinaryIO

import msgspec

from requisition.cli.host import Host
from requisition.cli.runner import Heard, converse
from requisition.runtime.admission import source_folder
from requisition.runtime.bundling import Stream, bundled
from requisition.runtime.frames import Document, Event, OnDisconnect, Request, Result, Stop, Visit, write_frame
from requisition.runtime.inputs import Inputs
from requisition.runtime.layout import StateDir, write_durably
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput, Diagnostic, Failure
from requisition.schemas.receipt import Receipt
from requisition.stdlib.action import ActionError

_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{4}")
_SSH_FAILED, _NOT_FOUND, _BAD_USAGE = 255, 127, 4


def visit(host: Host, request: Request, on_event: Callable[[Event], None]) -> Result:
    """Ask the runtime of a far machine. What the request names here (files, state) stays here."""
    sealed = orderfile.read(request.order_path) if request.order_path else None
    try:
        stream = _bundle(sealed, request) if sealed is not None else None
        policy: OnDisconnect = request.visit.on_disconnect if request.visit else "keep"
        asked = msgspec.structs.replace(
            request,
            state_dir="",
            order_path="",
            source_root="",
            trust_path="",
            visit=Visit(bundle=stream.size if stream else 0, on_disconnect=policy),
        )
        sender = _Sender(asked, stream)
        heard = converse(host.command(), None, sender.send, on_event, sender.stop)
    finally:
        if sealed is not None:
            sealed.close()
    result = heard.result if heard.result is not None else _unanswered(host, heard)
    for document in heard.documents:
        result = _keep(document, result, host, request.state_dir)
    return _explained(result, host)


class _Sender:
    """What is said to the far machine, and how it is told to stop: before all is said there is nothing to
    bring to an end, and the connection is closed."""

    def __init__(self, request: Request, stream: Stream | None) -> None:
        self._request = request
        self._stream = stream
        self._sent = False

    def send(self, stdin: BinaryIO) -> None:
        """Request and bundle."""
        write_frame(stdin, self._request)
        try:
            for piece in self._stream.pieces if self._stream else ():
                stdin.write(piece)
        except ActionError as error:
            raise BadInput.of(str(error), next=error.hint) from error
        stdin.flush()
        self._sent = True

    def stop(self, process: subprocess.Popen[bytes], _number: int) -> None:
        """Pass a signal on: as a frame, for ssh would only hang up."""
        if not self._sent or not isinstance(process.stdin, BufferedWriter):
            process.send_signal(signal.SIGTERM)
            return
        write_frame(process.stdin, Stop())
        process.stdin.flush()


def _bundle(sealed: orderfile.Sealed, request: Request) -> Stream:
    order = orderfile.decode_order(sealed)
    folder = request.source_root or source_folder(request.order_path, sealed.source)
    inputs = Inputs(order.inputs, folder, sealed.blobs)
    try:
        for item in order.inputs:
            inputs.verify(item.path)
    except ActionError as error:
        raise BadInput.of(str(error), where=request.order_path, next=error.hint) from error
    return bundled(sealed, order.inputs, inputs.content)


def _keep(document: Document, result: Result, host: Host, state_dir: str) -> Result:
    """Keep a receipt below `hosts/` of our own state directory, once it is seen to be one."""
    if not _RUN_ID.fullmatch(document.run_id) or document.run_id != result.run_id:
        raise BadInput.of(f"{host.label} sent a receipt of another run", next="look at that machine")
    folder = f"{StateDir(state_dir).path}/hosts/{host.label}"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    name = document.run_id if document.kind == "receipt" else f"{document.run_id}.rollback"
    arriving = f"{folder}/.arriving.plan"
    write_durably(arriving, document.content)
    try:
        sealed = orderfile.read(arriving)
        sealed.close()
        receipt = orderfile.decode(sealed)
        if not isinstance(receipt, Receipt) or receipt.run_id != document.run_id:
            raise BadInput.of(f"{host.label} sent something else for a receipt", next="look at that machine")
        os.replace(arriving, f"{folder}/{name}.plan")
    except Failure:
        os.unlink(arriving)
        raise
    return msgspec.structs.replace(result, receipt=f"{folder}/{name}.plan")


def _explained(result: Result, host: Host) -> Result:
    """Findings of the protocol itself get the next step from us: the far runtime may be of any age."""
    advice = f"install the same version of requisition here and on {host.label}"
    found = tuple(
        msgspec.structs.replace(one, next=advice, where=host.label) if one.what.startswith("plan-runtime: ") else one
        for one in result.diagnostics
    )
    return msgspec.structs.replace(result, diagnostics=found)


def _unanswered(host: Host, heard: Heard) -> Result:
    """No result came: why, as far as the end of ssh tells."""
    if heard.broken and heard.code not in (_SSH_FAILED,) and heard.code >= 0:
        what = f"what {host.label} sent is not of our protocol: {heard.broken}"
        why = "something there prints before the runtime starts (a shell's start-up file?), or it is another version"
        return _told(what, why, f"make `ssh {host.label} true` print nothing there; compare plan version on both sides")
    if heard.code in (_NOT_FOUND, _NOT_FOUND - 1):
        what = f"there is no {host.program} on {host.label}"
        return _told(
            what,
            "its login shell did not find it",
            f"install requisition there, or name the program: ssh://{host.label}/path/to/plan-runtime",
        )
    if heard.code == _BAD_USAGE:
        return _told(
            f"the plan-runtime of {host.label} takes no visitors",
            "it is of an older version",
            f"install the same version of requisition on {host.label}",
        )
    if heard.code == _SSH_FAILED and not heard.spoke:
        return _told(f"{host.label} cannot be reached", "ssh said why, above", f"try: ssh {host.label} true")
    finding = Diagnostic(
        what=f"the connection to {host.label} ended before the answer",
        why="what was begun there is in the journal of that machine, or was finished as --on-interrupted says",
        next=f"plan recover --host {host.url} shows it; then plan resume or plan rollback with the same --host",
    )
    return Result(status="interrupted", diagnostics=(finding,), data={"lost": True})


def _told(what: str, why: str, advice: str) -> Result:
    return Result(status="failed", diagnostics=(Diagnostic(what=what, why=why, next=advice),))
