"""What we publish figures of: one module a subject, ``python -m bench.NAME`` each; nothing is written but bench/out."""
