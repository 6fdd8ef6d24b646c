"""Tenants of the push gateway, and what fetching their documents may cost us."""

WELLKNOWN_FETCHES_MAX = 32
WELLKNOWN_STRANGERS_MAX = 16
WELLKNOWN_WAIT_S = 5.0
WELLKNOWN_BUSY_S = 1
"""Documents fetched at once: of instances that had a good one before, and of those that never had, apart, so that
servers which are slow on purpose hold up strangers alone. One more waits so long: then the old document, or 429 with
this Retry-After."""

FULL_RETRY_S = 3_600
"""Retry-After where a tenant has all the devices that it may: only it, or its operator, can make room."""

DOCUMENT_KEPT_MS = 6 * 3_600_000
DOCUMENTS_PER_DAY = 8
DOCUMENTS_KEPT_MAX = 10_000
"""An instance's document that has not changed is recorded again so long after the last time, while it is used: after a
restart the last good one serves for 18 to 24 hours. Of one domain so many a day are recorded: then, where keys change
still, its last one is revoked until tomorrow. Of domains that nobody configured so many; memory alone keeps more."""

RESOLVING_MAX = 32
"""Threads that look up names of instances. A name server that never answers holds one for half a minute, and could
else take all of trio's 40."""

PREFIX6_BITS = 64
"""Addresses of one IPv6 network count as one source: whoever has one has 2**64 of them."""

USAGE_DAYS = 35
"""Days that a tenant's usage is told for one by one; those before are kept as one sum."""

DEAD_KEPT_MS = 90 * 86_400_000
DEAD_PER_TENANT_MAX = 100_000
"""How long, and of how many dead devices, a tenant can ask; the oldest go first."""

OUTCOME_CHARS_MAX = 64
OUTCOMES_PER_TENANT_MAX = 64
"""Reasons of failures that are counted apart: push services choose the words. Longer ones are cut, more are "other"."""

INQUIRIES_PER_MINUTE = 60
"""Reports that a tenant may ask for: each costs about a millisecond. Beyond: 429."""

INQUIRY_NONCES_MAX = 20_000
"""Nonces of reports that could still be replayed: 4 MB; at it, reports are refused with 429 until some have expired."""

DEAD_PAGE_MAX = 200
"""Dead devices in one report; the answer says where the next page begins."""

TENANTS_SHOWN_MAX = 10_000
"""Tenants in the operator's view, those that sent most first: 5 MB of JSON."""

assert DEAD_PAGE_MAX <= DEAD_PER_TENANT_MAX
