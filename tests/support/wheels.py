"""A folder of wheels, and a registry of npm packages, made for a test."""

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """A pure wheel of one module, which only says its version."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)


def source(folder: Path, name: str, version: str, touches: Path) -> None:
    """A source distribution whose setup.py leaves a trace when it is run."""
    content = f"open({str(touches)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name={name!r}, version={version!r})\n"
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(f"{name}-{version}/setup.py")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))


class NpmRegistry:
    """Serves packages by the protocol of npm's registry; each would touch `trace` if its script ran."""

    def __init__(self, trace: Path):
        self._trace = trace
        self._packages: dict[str, dict[str, tuple[bytes, dict]]] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                body = registry.answer(self.path.strip("/").split("/"))
                self.send_response(404 if body is None else 200)
                body = body or b'{"error": "Not found"}'
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, version: str, **needs: str) -> None:
        scripts = {"install": f"touch {self._trace}", "postinstall": f"touch {self._trace}"}
        package = {"name": name, "version": version, "dependencies": needs, "scripts": scripts}
        content = json.dumps(package).encode()
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            member = tarfile.TarInfo("package/package.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        self._packages.setdefault(name, {})[version] = (stream.getvalue(), needs)

    def answer(self, path: list[str]) -> bytes | None:
        name = path[0]
        if name not in self._packages:
            return None
        if path[-1].endswith(".tgz"):
            return self._packages[name][path[-1][len(name) + 1 : -4]][0]
        versions = {version: self._entry(name, version) for version in self._packages[name]}
        return json.dumps({"name": name, "dist-tags": {"latest": max(versions)}, "versions": versions}).encode()

    def _entry(self, name: str, version: str) -> dict:
        content, needs = self._packages[name][version]
        digest = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        dist = {"tarball": f"{self.url}/{name}/-/{name}-{version}.tgz", "integrity": digest}
        return {"name": name, "version": version, "dependencies": needs, "hasInstallScript": True, "dist": dist}
