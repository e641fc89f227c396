"""The contract between compiler and runtime: document types, canonical bytes, signatures, file forms.

Nothing here evaluates a package or touches a target; every other house imports this one and it
imports none of ours.
"""
