"""Bad input: every parser, socket and endpoint, given what its valid inputs turn into when they are damaged.

``python -m tests.fuzz --inputs 100000`` runs all of it by hand; the test files here run what fits into CI.
"""
