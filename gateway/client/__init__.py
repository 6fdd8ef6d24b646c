"""The client side of replication: both sockets of a relay, its tokens, and a cursor that outlives them.

`behaviour` decides (pure, and the same as `behaviour.js`), `replica` carries out on trio. This room must not know the
server: it speaks to any gateway that follows the same protocol.
"""
