"""`encryption.decrypt`: a secret that lies encrypted in the package, for a file or for other nodes."""

from typing import Annotated

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.encryption.age import Identities, NoMatch
from requisition.stdlib.providers.file import Group, Owner, observe_content, put_content
from requisition.stdlib.spec import Output, slot

FORMATS = {".age": "age", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".env": "env"}


class DecryptSlots(Struct, frozen=True):
    source: Annotated[str, slot("input", "the encrypted file of the package: .age, or SOPS in YAML, JSON or dotenv")]
    identity: Annotated[
        str, slot("string", "the age identities or SSH private key that open it, as a secret", only_secret=True)
    ]
    path: Annotated[str, slot("path", "where the result goes; empty: only into other nodes", claims=True)] = ""
    mode: Annotated[int, slot("mode", "permission bits")] = 0o600
    owner: Owner = ""
    group: Group = ""
    format: Annotated[str, slot("string", "age, yaml, json or env; empty: what the file's name says")] = ""
    extract: Annotated[list[str], slot("strings", "of a SOPS file, only the value that these keys lead to")] = []


@action(
    "encryption.decrypt",
    outputs=(
        Output("content", "content", "what was encrypted", secret=True),
        Output("path", "path", "where it was written, if anywhere"),
    ),
)
class Decrypt(BaseAction[DecryptSlots]):
    """Decrypt a file of the package, into a file when `path` is given. The result is a secret: it goes where
    plan.secret may go, and nowhere else. A SOPS file is only taken whole, as its MAC says."""

    slots = DecryptSlots

    def observe(self, host: Host, slots: DecryptSlots) -> Satisfied | Change:
        """Decrypts in memory, then compares with what is there."""
        content = _opened(host, slots)
        outputs = {"content": content, "path": slots.path}
        if not slots.path:
            return Satisfied(outputs)
        return observe_content(host, slots.path, content, slots.mode, slots.owner, slots.group, outputs)

    def do(self, host: Host, slots: DecryptSlots, change: Change) -> Done:
        """Write it beside the target, then rename."""
        content = change.contents[0]
        if content is None:
            content = _opened(host, slots)
        return put_content(host, change, content, {"content": content, "path": slots.path})


def _opened(host: Host, slots: DecryptSlots) -> bytes:
    source = slots.source
    form = slots.format or next((form for ending, form in FORMATS.items() if source.endswith(ending)), "")
    if form not in FORMATS.values():
        raise ActionError(
            f"{source}: {form or 'its name'} is no format that can be decrypted", "set format = age, yaml, json or env"
        )
    if form == "age" and slots.extract:
        raise ActionError(f"{source} is not a SOPS file, so nothing can be extracted from it", "leave `extract` out")
    identities, sealed = Identities(slots.identity), host.input(source)
    try:
        return identities.open(sealed, source) if form == "age" else _from_sops(sealed, form, identities, slots)
    except NoMatch as error:
        raise ActionError(
            f"{source} is not encrypted for the given identity", "give another, or encrypt it for this one"
        ) from error


def _from_sops(sealed: bytes, form: str, identities: Identities, slots: DecryptSlots) -> bytes:
    from requisition.stdlib.providers.encryption.sops_json import open_env, open_json
    from requisition.stdlib.providers.encryption.sops_yaml import open_yaml

    source = slots.source
    try:
        text = sealed.decode()
    except UnicodeDecodeError as error:
        raise ActionError(f"{source} is not text", "restore the file") from error
    opened = {"yaml": open_yaml, "json": open_json, "env": open_env}[form]
    content, leaves = opened(text, identities, source)
    if not slots.extract:
        return content
    found = leaves.get(tuple(slots.extract))
    if found is None:
        raise ActionError(f"{source} has no value at {'.'.join(slots.extract)}", "name every key down to one value")
    return found.encode()
