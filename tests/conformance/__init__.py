"""The contract, read by somebody who has not seen the code: a real server in its own process, HTTP and sockets.

Nothing here imports the gateway: signing, canonical forms and fakes are written from the specification alone.
"""
