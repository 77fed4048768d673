"""The contracts of spaces, strategies and evaluators as test classes.

Inherit one, provide its fixture, and run pytest: built-ins and plug-ins go through the same.
Needs pytest and hypothesis.
"""
