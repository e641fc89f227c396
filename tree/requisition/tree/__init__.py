"""Trees of packages, each a git repository: walked, pinned, checked as one graph, synced, mended, torn down.

A sync is: recover → walk (`walk.py`, `cache.py`, `pins.py`) → validate → one order for the whole tree → the runtime.
What happened is told in `events.jsonl` at the root. Nothing here executes an action: the runtime does.
"""
