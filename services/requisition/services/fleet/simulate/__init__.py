"""A fleet in simulated time: the real planner, fold and agent reducer, with a server, machines and a network of this
folder's own. One seed decides everything; the same seed gives the same run.

`scenario` makes of a seed what will happen; `world` is time, chance and the network; `server` and `machine` are the two
ends; `oracle` watches what really happens on the machines, and says when a promise is broken.
"""
