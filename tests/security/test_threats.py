"""What is tried on a gateway that anybody may use and that fetches from whoever is named, and the test that holds it.

Each line is a threat, then the tests against it; `test_every_threat_is_held_by_tests_that_exist` reads this table.

Where it fetches from (instances' documents, and push endpoints):
- Special, private, mapped, NAT64, 6to4, Teredo and disguised addresses
    tests/gateway/push/test_address.py::test_local_special_and_disguised_addresses_are_not_dialled
    tests/gateway/push/test_address.py::test_no_address_that_python_calls_private_is_dialled
    tests/gateway/push/test_address.py::test_no_v6_address_that_python_calls_private_is_dialled
- Names that are addresses: octal, hex, one number, brackets, ports, users, paths, single labels, local ones, dots
    tests/gateway/push/test_hostname.py::test_what_is_no_public_domain_name_is_refused
    tests/gateway/push/test_subscription.py::test_an_endpoint_that_is_not_on_the_public_web_is_refused
    tests/gateway/push/test_subscription.py::test_what_is_no_plain_url_is_refused_before_anything_else
- One name in several spellings: case, space, IDN
    tests/gateway/push/test_hostname.py::test_a_domain_has_one_spelling
- A name with a public address and a private one
    tests/gateway/serve/test_dialling.py::test_one_address_that_is_not_public_is_enough_to_dial_none
    tests/gateway/serve/push/test_fetch.py::test_one_address_that_is_not_public_is_enough_to_refuse_and_nothing_is_dialled
    tests/gateway/serve/delivery/test_egress.py::test_a_name_with_an_address_that_is_not_public_is_never_dialled
- DNS rebinding: another address when it is dialled than when it was judged
    tests/gateway/serve/push/test_fetch.py::test_a_name_that_changes_between_check_and_use_gains_nothing
    tests/gateway/serve/delivery/test_egress.py::test_one_look_up_and_one_dial_to_the_address_that_was_checked
    tests/gateway/serve/test_dialling.py::test_the_real_dialler_goes_where_it_is_told_and_nowhere_else
- Redirects to this machine
    tests/gateway/serve/push/test_fetch.py::test_a_server_that_misbehaves_is_called_unreachable_with_the_reason
    tests/gateway/serve/delivery/test_egress.py::test_a_redirect_is_an_answer_and_leads_nowhere
    tests/gateway/serve/delivery/test_webpush.py::test_a_redirect_and_a_refusal_fail_and_the_device_stays
- Another port, plain http, and what the configuration did not name
    tests/gateway/serve/delivery/test_egress.py::test_another_port_plain_http_and_a_local_origin_that_nobody_named_are_refused_unresolved
    tests/gateway/serve/push/test_fetch.py::test_a_document_on_this_machine_is_fetched_only_where_the_configuration_says_so
- A certificate for another name
    tests/gateway/serve/push/test_fetch.py::test_a_certificate_for_another_name_is_refused
- Huge bodies with and without a length, header floods, encoded bombs (the same test as redirects), endless answers
    tests/gateway/serve/push/test_fetch.py::test_a_server_that_misbehaves_is_called_unreachable_with_the_reason
    tests/gateway/serve/delivery/test_egress.py::test_an_endless_answer_is_cut_off
    tests/conformance/test_push_refusals.py::test_a_document_over_16_kib_is_refused
- A byte a second, and hosts that hang
    tests/gateway/serve/push/test_fetch.py::test_a_server_that_drips_is_cut_after_five_seconds_in_all
    tests/gateway/serve/delivery/test_egress.py::test_slow_strangers_share_a_few_places_and_hold_up_nobody_else
- Credentials or cookies sent along
    tests/gateway/serve/push/test_fetch.py::test_a_document_is_fetched_with_one_look_up_and_one_dial_and_asks_for_no_encoding
- Keys that are none: RSA, P-384, two PEMs, 100 KB, PKCS #1, certificates, points off the curve
    tests/gateway/push/test_es256.py::test_anything_but_one_p256_public_key_is_refused
    tests/security/test_es256_vectors.py::test_a_point_that_is_not_on_the_curve_is_no_key
    tests/security/test_es256_vectors.py::test_a_key_of_pkcs1_and_a_certificate_are_no_keys
- Documents that are no bounded JSON, nested deeply, with keys twice, of another instance or algorithm
    tests/gateway/push/test_wellknown.py::test_what_is_no_bounded_json_object_is_refused
    tests/gateway/push/test_wellknown.py::test_a_wrong_document_is_refused_with_the_reason

How often it fetches:
- A thousand requests for one new domain
    tests/gateway/serve/push/test_fetch.py::test_a_thousand_requests_for_one_new_domain_make_one_fetch
- A thousand bad domains from one source, and from many
    tests/gateway/serve/push/test_fetch.py::test_many_unknown_domains_from_one_source_are_cut_off_and_known_ones_are_not
    tests/gateway/serve/push/test_fetch.py::test_first_fetches_have_a_budget_over_all_sources_and_configured_instances_none
    tests/gateway/serve/push/test_fetch.py::test_a_failure_is_remembered_for_30_seconds
- Bad signatures against a known tenant
    tests/gateway/serve/push/test_fetch.py::test_failing_signatures_cause_one_fetch_in_thirty_seconds
- Keys: the old one until its time is over, a new one after one fetch, none when it was revoked, the last in an outage
    tests/gateway/serve/push/test_fetch.py::test_a_document_is_fresh_for_300_seconds_and_then_asked_for_again
    tests/gateway/serve/push/test_service.py::test_a_rotated_key_is_found_by_one_fetch_more
    tests/gateway/serve/push/test_fetch.py::test_a_document_that_was_fetched_and_holds_no_key_revokes_the_old_one
    tests/gateway/serve/push/test_fetch.py::test_an_old_document_serves_for_a_day_while_the_new_one_cannot_be_fetched
- The same over a restart: no old key for a new one, none that was taken back, none after a day
    tests/gateway/serve/push/test_service.py::test_an_instance_whose_site_is_down_while_the_gateway_restarts_is_known_by_its_last_document
    tests/gateway/serve/push/test_service.py::test_a_document_without_a_key_revokes_what_was_kept_also_after_a_restart
    tests/gateway/serve/push/test_lastgood.py::test_the_rules_of_an_old_document_hold_over_a_restart
- Documents that change all day, and thousands of names, to make memory or the log grow
    tests/gateway/serve/push/test_lastgood.py::test_whoever_changes_keys_all_day_is_recorded_eight_times_and_leaves_no_old_key_behind
    tests/gateway/serve/push/test_lastgood.py::test_strangers_names_are_bounded_and_configured_ones_are_not
    tests/gateway/serve/push/test_service.py::test_a_document_is_kept_only_with_something_that_it_verified
    tests/gateway/serve/push/test_fetch.py::test_documents_in_memory_are_bounded_and_one_that_went_is_fetched_again
- The registration key on the webhook, and the other way round
    tests/security/test_keys_apart.py::test_each_key_opens_its_own_surface_alone

What is signed:
- Keys twice, deep nesting, huge numbers, NaN, lone surrogates, a BOM, bytes that are no UTF-8
    tests/gateway/push/test_canonical.py::test_what_two_parsers_could_read_differently_is_refused
    tests/conformance/test_push_refusals.py::test_what_is_no_plain_json_object_is_malformed
    tests/conformance/test_push_refusals.py::test_a_key_twice_is_refused_by_name
- Other bytes here than the instance's runtime signs
    tests/security/test_canonical.py::test_what_is_accepted_has_the_bytes_that_node_signs_and_what_is_refused_has_two_meanings
    tests/security/test_canonical.py::test_numbers_that_javascript_rounds_are_acted_on_as_it_rounds_them
- Two meanings with one canonical form
    tests/security/test_canonical.py::test_two_texts_of_one_form_mean_the_same
    tests/security/test_canonical.py::test_texts_that_collide_in_the_original_form_are_never_both_accepted
- ES256: r and s of 0, n and beyond, other lengths, special points and hashes, arithmetic that overflows
    tests/security/test_es256_vectors.py::test_every_vector_is_accepted_or_refused_as_it_says
    tests/gateway/push/test_es256.py::test_r_and_s_out_of_range_are_refused
- DER, base64url, no padding, spare bits, spaces: one spelling of a signature and no other
    tests/gateway/push/test_es256.py::test_der_base64url_missing_padding_and_other_lengths_are_refused
    tests/gateway/push/test_es256.py::test_a_second_spelling_of_the_same_bytes_is_refused
    tests/conformance/test_register.py::test_the_signatures_spelling_is_one_and_only_one
- (r, n-s) verifies too, so no signature is an identity
    tests/security/test_replay.py::test_another_spelling_of_the_signature_is_the_same_envelope
- Clocks: 60 s ahead, expired, leap seconds, zones, microseconds, the year 9999, numbers
    tests/gateway/push/test_envelope.py::test_an_envelope_counts_from_a_minute_before_it_was_issued_until_it_expires
    tests/gateway/push/test_instant.py::test_other_zones_precisions_and_impossible_times_are_refused
    tests/gateway/push/test_instant.py::test_an_instant_is_read_to_the_millisecond

What comes again:
- A captured registration, before and after a restart
    tests/security/test_replay.py::test_a_captured_registration_does_not_bring_a_device_back
    tests/security/test_replay.py::test_a_captured_registration_does_not_move_a_device_back
    tests/gateway/serve/push/test_service.py::test_nonces_survive_a_restart
- A registration that its deregistration overtook
    tests/security/test_replay.py::test_a_registration_that_its_deregistration_overtook_comes_too_late
- A nonce for another envelope, and many at once
    tests/security/test_replay.py::test_a_nonce_that_was_used_serves_no_other_envelope
    tests/conformance/test_register.py::test_of_concurrent_envelopes_with_one_nonce_exactly_one_takes_effect
- A captured notification, however it is spelled, before and after a kill
    tests/security/test_replay.py::test_a_captured_notification_pushes_nothing_however_it_is_spelled
    tests/conformance/test_notify.py::test_of_concurrent_copies_exactly_one_pushes
    tests/conformance/test_notify.py::test_a_stale_notification_is_refused
- A registration as an event, an event as a registration
    tests/security/test_replay.py::test_a_captured_signature_carries_no_other_body_and_no_other_endpoint
    tests/gateway/push/test_envelope.py::test_neither_shape_is_taken_for_the_other

Who reaches whom:
- Every endpoint with every credential of another tenant
    tests/security/test_tenants_apart.py::test_no_credential_of_another_opens_an_endpoint_and_the_refusal_tells_nothing
    tests/security/test_tenants_apart.py::test_after_all_attempts_the_victim_has_its_device_and_nobody_else_its_pushes
- What answers tell of users, devices, ids and nonces of another
    tests/security/test_tenants_apart.py::test_in_its_own_name_an_attacker_learns_nothing_of_ids_nonces_users_and_devices
    tests/security/test_tenants_apart.py::test_what_an_instance_reads_of_its_tenant_holds_nothing_of_another
- One token of two tenants is two devices: what FCM says to one removes that one, the other is told by its own push
    tests/security/test_tenants_apart.py::test_a_device_that_two_tenants_registered_is_two_and_each_takes_away_its_own
    tests/conformance/test_register.py::test_the_same_token_of_two_tenants_is_two_devices
- A document, a body or a slug that claims another's tenant; spellings of a domain
    tests/gateway/push/test_tenant.py::test_a_claimed_tenant_counts_only_where_the_configuration_names_it
    tests/gateway/push/test_tenant.py::test_instance_and_tenant_must_name_the_same_instance
    tests/gateway/push/test_tenant.py::test_an_unknown_domain_is_its_own_tenant_however_it_is_spelled
    tests/gateway/push/test_tenant.py::test_an_unknown_slug_is_not_allowed_and_what_is_neither_slug_nor_domain_is_invalid
- The shared secret: constant time, one tenant, never instead of a signature that fails
    tests/gateway/serve/push/test_service.py::test_a_secret_serves_where_one_is_configured_and_the_well_known_one_never_does
- Another's backlog, and a device that gets too many
    tests/gateway/serve/delivery/test_dispatch.py::test_a_backlog_of_100_000_delays_another_tenants_push_by_less_than_a_second
    tests/gateway/serve/delivery/test_dispatch.py::test_one_device_gets_240_in_any_minute_and_the_rest_later
    tests/gateway/serve/delivery/test_dispatch.py::test_a_tenant_whose_sends_are_refused_uses_up_its_own_share_of_the_quota_and_no_more
    tests/gateway/serve/delivery/test_dispatch.py::test_a_tenant_whose_sends_hang_leaves_room_for_others
    tests/conformance/test_register.py::test_beyond_64_devices_the_least_recently_registered_goes
- Devices that are dead, or logged out, and what still waits for them
    tests/gateway/serve/delivery/test_dispatch.py::test_a_dead_device_is_found_dead_once_and_takes_along_all_that_waits_for_it
    tests/gateway/serve/delivery/test_dispatch.py::test_what_waits_for_a_device_that_is_deregistered_is_not_sent
    tests/gateway/serve/delivery/test_dispatch.py::test_what_waits_for_one_user_is_not_sent_to_the_next_who_logs_in_on_the_device
    tests/gateway/serve/delivery/test_dispatch.py::test_after_a_crash_nothing_is_sent_to_a_device_that_its_user_had_left_by_then
- Pushkeys and requests of the Matrix door without end
    tests/gateway/serve/push/test_matrix.py::test_an_app_has_the_quotas_of_a_tenant
    tests/gateway/serve/push/test_tenancy.py::test_an_app_of_the_matrix_door_has_rates_as_an_instance_has
- A configuration that is wrong, or half read, while the server runs
    tests/gateway/serve/test_rereading.py::test_a_file_that_is_wrong_changes_nothing_and_the_operator_is_told_why
    tests/gateway/serve/test_rereading.py::test_no_value_is_told_since_some_are_secrets
- Slow and endless requests at the door
    tests/gateway/serve/port/test_door.py::test_a_slow_head_is_closed
    tests/gateway/serve/port/test_asgi.py::test_a_slow_body_is_given_up
    tests/gateway/serve/port/test_asgi.py::test_an_endless_body_is_not_read_to_its_end
    tests/conformance/test_push_refusals.py::test_a_body_over_16_kib_is_too_large

What is seen:
- Secrets in what is printed, on pages, in refusals: of every real server of the suite, and of one that is provoked
    tests/security/test_secrecy.py::test_push_services_that_repeat_the_token_in_their_errors_teach_the_log_nothing
    tests/security/test_secrecy.py::test_a_secret_in_the_wrong_place_is_not_repeated
    tests/security/test_secrecy.py::test_a_server_that_shows_a_secret_fails_its_test
- Tenants, users and devices on pages for anybody
    tests/security/test_secrecy.py::test_what_one_tenant_registered_stands_on_no_page
- Labels that grow with tenants, or with what a push service makes up
    tests/gateway/push/test_tenantclass.py::test_any_tenant_has_one_of_three_classes
    tests/gateway/push/test_reason.py::test_any_reason_has_one_of_the_labels_that_are_known_beforehand
    tests/security/test_cardinality.py::test_a_second_round_of_strangers_adds_no_series
- Addresses inside our network in an error
    tests/conformance/test_push_refusals.py::test_an_unreachable_document_is_said_without_addresses
- State that a refused request leaves behind
    tests/conformance/test_push_refusals.py::test_what_was_refused_leaves_nothing_behind
"""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def threats() -> dict[str, list[tuple[str, str]]]:
    """(file, test) for each line of the table above."""
    assert __doc__
    table: dict[str, list[tuple[str, str]]] = {}
    for line in __doc__.splitlines():
        if line.startswith("- "):
            table[held := line[2:]] = []
        elif line.startswith("    "):
            path, _, name = line.strip().partition("::")
            table[held].append((path, name))
    return table


def test_every_threat_is_held_by_tests_that_exist() -> None:
    table = threats()
    assert [threat for threat, held in table.items() if not held] == []
    assert [one for held in table.values() for one in held if one[1] not in names_in(one[0])] == []


def test_every_test_of_this_suite_stands_in_a_file_that_the_table_names() -> None:
    named = {path for held in threats().values() for path, _ in held}
    files = {str(path.relative_to(ROOT)) for path in Path(__file__).parent.glob("test_*.py")}
    assert files - named == {"tests/security/test_threats.py"}
