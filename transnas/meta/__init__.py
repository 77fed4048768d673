"""Learning from earlier tasks: what was learnt is a `Prior`, and gives a strategy for the next.

`store` learns from the studies in a user's storage; `catch` meta-trains an agent on a family of
tasks (CATCH, ECCV 2020).
"""
