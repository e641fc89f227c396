"""What runs for long: `watch/` keeps machines at the newest commit that may be trusted, `delivery/` ships folders to
storage and loses nothing, `fleet/` is the core of staged rollouts over many machines.

The first two are one asyncio loop over a SQLite database (`database.py`), start everything that does work as processes
of their own (`processes.py`), are spoken to through a Unix socket that only its owner may open (`control.py`), and show
themselves over HTTP when asked to (`web.py`). Nothing here evaluates a package or executes an action.
"""
