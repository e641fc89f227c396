"""`plan watch`: keeps machines at the newest commit that may be trusted, for any number of repositories.

Decisions are pure (`refs.py`: what is new, `policy.py`: what runs next and what becomes of a failure); what was decided
is written down before it is done (`state.py`); what is done are processes (`remote.py`, `pipeline.py`), started by one
loop (`supervisor.py`) that waits for none of them.
"""
