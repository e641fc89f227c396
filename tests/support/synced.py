"""A tree of packages on real git remotes, and the real `plan` over it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support.forest import BareRemote, manifest
from support.trees import snapshot

PLAN = str(Path(sys.executable).parent / "plan")


def writes(*paths: str, more: str = "") -> str:
    """A script that writes its own name and a counter's worth of text to paths."""
    lines = "".join(f'    plan.file.write("{path}\\n", "{path}")\n' for path in paths)
    return f"def install(package, phase):\n{lines}{more}" if lines or more else ""


class Grove:
    """Remotes by name, a root's folder, a target, and a state of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "root"
        self.target = folder / "target"
        for made in (self.root, self.target, folder / "home"):
            made.mkdir()

    def remote(self, name: str, script: str = "", children=None, files=None, **more) -> BareRemote:
        """Commit a package; again: its next commit."""
        remote = BareRemote(self.folder / f"{name}.git")
        scripts = {"package.star": script} if script else {}
        remote.commit({"package.yaml": manifest(name, children, **more), **scripts, **(files or {})})
        return remote

    def names(self, children=None, script: str = "", **more) -> None:
        """Write the root's own package."""
        text = manifest("top", children, target_root=str(self.target), **more)
        (self.root / "package.yaml").write_text(text)
        if script:
            (self.root / "package.star").write_text(script)

    def start(self, *words: str, program: tuple[str, ...] = (PLAN,)) -> subprocess.Popen:
        env = {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "REQUISITION_STATE": str(self.folder / "state"),
        }
        return subprocess.Popen(
            [*program, *words], cwd=self.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def plan(self, *words: str, code: int = 0) -> str:
        """What it prints; it must end with `code`."""
        process = self.start(*words)
        said, _ = process.communicate()
        assert process.returncode == code, f"{process.returncode}\n{said}"
        return said

    def sync(self, *words: str, code: int = 0) -> str:
        return self.plan("sync", "--allow-unsigned", "--yes", *words, code=code)

    def teardown(self, *words: str, code: int = 0) -> str:
        return self.plan("teardown", "--allow-unsigned", "--yes", *words, code=code)

    def there(self) -> set[str]:
        """What lies in the target, by name."""
        return {str(path.relative_to(self.target)) for path in self.target.rglob("*")}

    def everything(self) -> dict:
        """The root's folder with all that is kept in it, and the target."""
        return {"root": snapshot(self.root), "target": snapshot(self.target)}

    def events(self) -> list[dict]:
        return [json.loads(line) for line in (self.root / ".plan/events.jsonl").read_text().splitlines()]

    def steps(self) -> list[tuple[str, str]]:
        return [(event["kind"], event["path"]) for event in self.events() if "path" in event]

    def runs(self) -> list[str]:
        folder = self.folder / "state" / "runs"
        return sorted(one.name for one in folder.iterdir()) if folder.exists() else []
