"""The steps of a run, at the edge: each reads what it needs from the run folder, and writes its record last.

Every step module offers `NAME`, `FILES` (what it leaves in the run folder beside its record), `key(job)` (a hash of
all that it is made from; None where something before it is missing) and `perform(job)`.
"""
