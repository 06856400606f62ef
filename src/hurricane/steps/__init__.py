"""The steps of a run, at the edge: each reads what it needs from the run folder, and writes its record last.

Every step module offers `NAME`, `key(job)` (a hash of all that it is made from; None where something before
it is missing) and `perform(job)`.
"""
