"""What is shown of the log, and the witnesses who sign it too."""

WITNESSES_MAX = 14
"""Witnesses: C2SP signed-note asks verifiers for 16 signatures at least; one line is ours. More: refused at start."""

WITNESS_S_MAX = 5.0
"""One witness's answer, a second try after a 409 included; beyond it the checkpoint is published without it."""

WITNESS_ROUND_S = 1.0
"""Between two rounds: checkpoints are signed once a second."""

WITNESS_REST_S_MIN = 2.0
WITNESS_REST_S_MAX = 300.0
"""A witness that failed rests, twice as long each time."""

WITNESS_ANSWER_BYTES_MAX = 16_384
"""An answer is a line or two of 150 bytes; a longer one is cut off as a failure."""
