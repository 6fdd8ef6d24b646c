"""The security suite: what attackers try on the push gateway, held by tests; `test_threats` says where each stands."""
