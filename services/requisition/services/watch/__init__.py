"""`plan watch`: keeps machines at the newest commit that may be trusted, for any number of repositories.

Decisions are pure (`refs.py`: what is new, `policy.py`: what runs next and what becomes of a failure); what was decided
is written down before it is done (`state.py`); what is done are processes (`remote.py`, `pipeline.py`), started by one
loop (`supervisor.py`) that waits for none of them. Others come in by the socket (`requests.py`), by webhooks
(`webhook.py`) and metrics (`metrics.py`), and are told by `notify.py`; `daemon.py` puts it together, `unit.py` hands it
to systemd.
"""
