"""Every fixed limit of the gateway, with its unit, its reason, and what happens at it; a file per room.

What an operator may tune is in `gateway.config`; here is what follows from a protocol, from another limit, or from
arithmetic. Relations between limits are asserted at import. These modules know no others.
"""
