"""Fast implementations of formulas that other modules define.

Each file has a predicate that selects the fast path and a function that must equal the formula.
"""
