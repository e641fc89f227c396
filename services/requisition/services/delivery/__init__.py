"""Delivery: a durable queue that ships folders to storage, proves that they arrived, and only then may delete them.

`queue.py` holds what is to be done, `worker.py` does it over a `transport.py`, `gate.py` says what may not leave,
`cleanup.py` what may be deleted. Decisions are pure; the queue's every change is one transaction.
"""
