"""The log in the operator's care: retention, erasure, the control socket, checkpoints and witnesses."""
