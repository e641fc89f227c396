"""The measured tree: N items, 10 % directories, 40 % copies of 1-4 KiB distinct content, 30 % links, 20 %
templates; and the package that describes it. Everything follows from N, so that runs can be compared."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

TEMPLATE = """# {{ name }}
[server]
port = {{ port }}
workers = {{ workers }}
{% if tls %}tls = on
{% endif %}root = /srv/{{ name }}
"""


class Item(NamedTuple):
    """One thing to make: kind is dir, copy, link or template; `path` starts with a slash."""

    kind: str
    path: str
    source: str
    size: int


def items(count: int) -> list[Item]:
    """The whole workload, directories before what lies in them."""
    directories = max(1, count // 10)
    found = [Item("dir", f"/d{number:05d}", "", 0) for number in range(directories)]
    rest = count - directories
    copies, links = round(count * 0.4), round(count * 0.3)
    for number in range(rest):
        place = f"/d{number % directories:05d}"
        if number < copies:
            found.append(
                Item("copy", f"{place}/c{number:06d}", f"files/{number % 100:02d}/{number:06d}", _size(number))
            )
        elif number < copies + links:
            found.append(Item("link", f"{place}/l{number:06d}", f"../d{number % directories:05d}/c{number:06d}", 0))
        else:
            found.append(Item("template", f"{place}/t{number:06d}", "server.conf.tmpl", 0))
    return found


def _size(number: int) -> int:
    return 1024 + (number * 2654435761) % 3073


def content(number: int, size: int) -> bytes:
    """Distinct text of a given size."""
    line = hashlib.sha256(str(number).encode()).hexdigest().encode() + b"\n"
    return (line * (size // len(line) + 1))[:size]


def template_data(path: str) -> dict[str, object]:
    """What a template is rendered with."""
    number = int(path[-6:])
    return {
        "name": path[1:].replace("/", "-"),
        "port": 1024 + number % 60000,
        "workers": number % 16,
        "tls": number % 2 == 0,
    }


def write_package(folder: Path, count: int, *, changed: int = 0) -> list[Item]:
    """The package and its files. `changed` copies get other content."""
    found = items(count)
    (folder / "files").mkdir(parents=True)
    for shard in range(100):
        (folder / f"files/{shard:02d}").mkdir()
    (folder / "server.conf.tmpl").write_text(TEMPLATE)
    copies = [item for item in found if item.kind == "copy"]
    for number, item in enumerate(copies):
        text = content(number, item.size)
        (folder / item.source).write_bytes(text[::-1] if number < changed else text)
    (folder / "package.yaml").write_text("name: bench\nversion: '1'\n")
    (folder / "install.star").write_text(_script(count))
    return found


def _script(count: int) -> str:
    """The same rules as `items`, in Starlark: a package of a size does not grow with what it makes."""
    return f"""COUNT = {count}

def pad(number, width):
    text = str(number)
    return "0" * (width - len(text)) + text

def install(package, phase):
    directories = max(1, COUNT // 10)
    copies = (COUNT * 4 + 5) // 10
    links = (COUNT * 3 + 5) // 10
    for number in range(directories):
        plan.file.mkdir("/d" + pad(number, 5))
    for number in range(COUNT - directories):
        place = "/d" + pad(number % directories, 5)
        name = pad(number, 6)
        if number < copies:
            plan.file.copy("files/" + pad(number % 100, 2) + "/" + name, place + "/c" + name)
        elif number < copies + links:
            plan.file.link("../d" + pad(number % directories, 5) + "/c" + name, place + "/l" + name)
        else:
            data = {{
                "name": place[1:] + "-t" + name,
                "port": 1024 + number % 60000,
                "workers": number % 16,
                "tls": number % 2 == 0,
            }}
            plan.template.render("server.conf.tmpl", data = data, path = place + "/t" + name)
"""


def tree_digest(root: Path) -> str:
    """SHA-256 over names, kinds, modes, contents and link targets below a folder."""
    digest = hashlib.sha256()
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted([*names, *files]):
            path = os.path.join(directory, name)
            info = os.lstat(path)
            digest.update(f"{os.path.relpath(path, root)}\0{info.st_mode:o}\0".encode())
            if os.path.islink(path):
                digest.update(os.readlink(path).encode())
            elif os.path.isfile(path):
                digest.update(Path(path).read_bytes())
    return digest.hexdigest()
