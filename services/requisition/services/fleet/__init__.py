"""The fleet: signed orders rolled out in waves, over one machine or ten thousand.

What decides is pure: records (`rollout`, `state`, `events`, `actions`, `effects`), the planner (`planner`, `gates`),
the reducers (`reducer` for hosts, `rollout_reducer`, `fold` for the whole, `agent_reducer` for the machine itself).
They know no clock, no randomness and no file; `docs/fleet-model.md` tells of all of them in one table. `simulate/`
runs them all together in simulated time.
"""
