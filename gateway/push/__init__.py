"""Push as plain values and functions: envelopes, plans, FCM requests and answers. No I/O, no clock."""
