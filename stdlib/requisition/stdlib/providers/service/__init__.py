"""Services of the machine, by whichever program keeps them running.

`actions.py` what a node can ask · `manager.py` what a manager is · one module a manager.
"""
