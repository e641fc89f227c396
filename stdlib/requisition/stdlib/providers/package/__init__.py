"""Packages of the machine or of a folder, by whichever manager keeps them.

`actions.py` what a node can ask · `batch.py` what the nodes of one manager come to together · `manager.py` what a
manager is · `versions.py` constraints · one module a manager.
"""
