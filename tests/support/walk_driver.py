"""A walk in a process of its own that kills itself without warning at its n-th effect: a program about to be started,
a file about to be made, linked or renamed. n = 0: to the end; then the number of effects is printed."""

import os
import signal
import sys

EFFECTS = {"subprocess.Popen", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}


def main() -> None:
    from requisition.tree.walk import WalkOptions, walk

    root, cache, update, at = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in EFFECTS or writes:
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    walked = walk(
        root, WalkOptions(cache=cache, jobs=1, update=tuple(update.split(",")) if update else ()), say=lambda _: None
    )
    print(count if not walked.problems else walked.problems)


if __name__ == "__main__":
    main()
