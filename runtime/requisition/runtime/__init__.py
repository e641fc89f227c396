"""Order in, receipt out: trust, preflight, execution, journal, recovery, receipts, state view.

Runs as a process of its own, without Starlark, Lark or the command line installed.
"""
