"""All commands of `plan`: one module each, imported only when it is run or when its own help is asked for.

The table is all that `plan --help` needs. A test holds it against the commands themselves.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """One command: its group in the help, its module, and one line of help."""

    group: str
    module: str
    help: str


AUTHOR, TRUST, APPLY, KNOW = "Write and build", "Review and sign", "Apply and go back", "Look things up"

TABLE: dict[str, Entry] = {
    "init": Entry(AUTHOR, "init", "Make the skeleton of a package."),
    "check": Entry(AUTHOR, "check", "Look for mistakes in a package without building it."),
    "build": Entry(AUTHOR, "build", "Build an order from a package."),
    "show": Entry(TRUST, "show", "Draw what an order or receipt says, and what is risky in it."),
    "diff": Entry(TRUST, "diff", "Compare two orders or receipts by meaning."),
    "graph": Entry(TRUST, "graph", "Draw the graph of an order as dot, Mermaid or SVG."),
    "sign": Entry(TRUST, "sign", "Sign an order."),
    "verify": Entry(TRUST, "verify", "Check the signatures of an order against a trust policy."),
    "key": Entry(TRUST, "key", "Make and show the keys you sign with."),
    "trust": Entry(TRUST, "trust", "Say whose orders may run on this machine."),
    "apply": Entry(APPLY, "apply", "Apply an order to this machine."),
    "status": Entry(APPLY, "status", "Compare this machine with what was applied to it."),
    "receipts": Entry(APPLY, "receipts", "List past runs, or show one."),
    "rollback": Entry(APPLY, "rollback", "Take a run back."),
    "resume": Entry(APPLY, "resume", "Finish a run that was cut off."),
    "recover": Entry(APPLY, "recover", "List runs that were cut off, and what can be done."),
    "actions": Entry(KNOW, "actions", "List the actions packages can use, or explain one."),
    "schema": Entry(KNOW, "schema", "Print the JSON Schema of a document."),
    "doctor": Entry(KNOW, "doctor", "Check that this machine has what Requisition needs."),
    "completion": Entry(KNOW, "completion", "Print a completion script for your shell."),
    "version": Entry(KNOW, "version", "Print the version."),
}
