"""A folder delivered over ssh, proved and in its place, against plain `rsync -a` and `sha256sum` of both sides.

    python bench/delivery.py [--files 10000] [--size 65536] [--large 2147483648] [--rounds 3] [--folder DIR]

The far end is an sshd on loopback, started for this (as root). Ours hashes the source, pushes, hashes at the far end,
compares, and renames; plain is what a careful person types: rsync into an empty folder, then `find | xargs sha256sum`
of both sides, compared. Both begin with the source in the page cache and nothing waiting to be written. Each round
takes one after the other, so that a ratio compares neighbours in time; printed are medians in seconds and the ratio.
"""

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from requisition.services.delivery.hashing import scanned
from requisition.services.delivery.transport import incoming
from requisition.services.delivery.verify import verify
from support.deliveries import Beyond

SUMS = "cd '{}' && find . -type f -print0 | xargs -0 sha256sum | sort -k 2"


def make(folder: Path, files: int, size: int, large: int) -> None:
    block = os.urandom(1 << 20)
    for number in range(files):
        part = folder / f"{number // 500}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number}.bin").write_bytes(number.to_bytes(8, "big") + (block * (size // len(block) + 1))[8:size])
    with (folder / "large.bin").open("wb") as file:
        for number in range(large >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])


def plain(beyond: Beyond, source: Path) -> dict[str, float]:
    ssh = f"ssh -F {beyond.machine.config} -p {beyond.machine.port}"
    there = beyond.machine.far / "plain"
    start = time.perf_counter()
    subprocess.run(["rsync", "-a", "-e", ssh, f"{source}/", f"root@127.0.0.1:{there}/"], check=True)
    copied = time.perf_counter()
    here = subprocess.run(["sh", "-c", SUMS.format(source)], check=True, capture_output=True).stdout
    far = subprocess.run([*ssh.split(), "root@127.0.0.1", SUMS.format(there)], check=True, capture_output=True).stdout
    if here != far:
        raise SystemExit("plain rsync did not deliver")
    end = time.perf_counter()
    shutil.rmtree(there)
    return {"plain: rsync -a": copied - start, "plain: sha256sum twice": end - copied, "plain": end - start}


async def ours(beyond: Beyond, source: Path) -> dict[str, float]:
    transport = beyond.transport()
    start = time.perf_counter()
    manifest = await scanned(str(source))
    hashed = time.perf_counter()
    await transport.stage(str(source), manifest, "bench", None, lambda _: None)
    pushed = time.perf_counter()
    found = await verify(transport, incoming("bench"), manifest)
    if not found.ok:
        raise SystemExit(f"not delivered: {found}")
    verified = time.perf_counter()
    await transport.publish("bench", "a/b", manifest)
    end = time.perf_counter()
    shutil.rmtree(beyond.root / "a")
    return {
        "ours: hash here": hashed - start,
        "ours: push": pushed - hashed,
        "ours: verify there": verified - pushed,
        "ours: flush and rename": end - verified,
        "ours": end - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64 << 10, help="bytes of each")
    parser.add_argument("--large", type=int, default=2 << 30, help="bytes of one more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; three times the size must fit")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # not without cleaning up
    folder = Path(tempfile.mkdtemp(prefix="bench-delivery-", dir=options.folder))
    beyond = Beyond(folder / "machine")
    try:
        source = folder / "source"
        make(source, options.files, options.size, options.large)
        rounds = []
        for number in range(options.rounds):
            turns = [lambda: plain(beyond, source), lambda: asyncio.run(ours(beyond, source))]
            times: dict[str, float] = {}
            for turn in turns if number % 2 else reversed(turns):
                os.sync()
                times |= turn()
            rounds.append(times)
            print(f"round {number + 1}: {times['ours']:.1f} s, {times['plain']:.1f} s", file=sys.stderr)
    finally:
        beyond.machine.close()
        shutil.rmtree(folder)
    for name in sorted(rounds[0]):
        print(f"{name:28}{statistics.median(one[name] for one in rounds):9.2f} s")
    print(f"{'ratio':28}{statistics.median(one['ours'] / one['plain'] for one in rounds):9.2f}")


if __name__ == "__main__":
    main()
