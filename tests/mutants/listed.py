"""Deliberate faults in the protocol, each with the tests that must notice it.

A mutant replaces one small piece of text, which must occur exactly once in its file: so it breaks loudly when the code
changes under it, and is then adapted. Keep the pieces small.
"""

from dataclasses import dataclass
from typing import Final

CHANGES: Final = "tests/simulation/test_changes.py"
SWEEP: Final = "tests/simulation/test_sweep.py"
FAULTS: Final = "tests/simulation/test_protocol.py"
RULES: Final = "tests/contract/test_store_protocol.py"
VERSION: Final = "tests/contract/test_store_version.py"
LEASES: Final = "tests/contract/test_store_leases.py"
LOST_DATA: Final = "tests/contract/test_store_lost_data.py"
OPERATORS: Final = "tests/contract/test_store_operators.py"
ROUTING: Final = "tests/contract/test_store_routing.py"
REFUSALS: Final = "tests/simulation/test_shared_refusals.py"
PLAN: Final = "tests/unit/domain/test_plan.py"


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """pytest's node ids; at least one of them must fail."""


MUTANTS: Final = (
    Mutant(
        "no look-up for a pending link",
        "consumer/sync/look.py",
        "return memory.rank <= change.state.rank",
        "return False and memory.rank <= change.state.rank",
        (f"{FAULTS}::test_an_event_of_a_killed_run_is_deleted_if_its_job_was_cancelled_meanwhile",),
    ),
    Mutant(
        "finish.lua without the token check",
        "consumer/store/scripts/finish.lua",
        "if not leased or string.match(string.sub(leased, 9), '^[^%z]+') ~= ARGV[1] then",
        "if not leased then",
        (f"{LEASES}::test_a_lost_lease_writes_nothing",),
    ),
    Mutant(
        "a run ignores that its lease was lost",
        "consumer/sync/reconcile.py",
        "if not kept:",
        "if kept is None:",
        (f"{FAULTS}::test_a_run_whose_lease_was_lost_runs_again",),
    ),
    Mutant(
        "the ledger is one offset too far",
        "consumer/kafka/ledger.py",
        "self._next if first is None else first\n",
        "self._next if first is None else first + 1\n",
        (
            "tests/unit/kafka/test_ledger.py::test_the_position_stops_at_the_oldest_open_record_and_then_passes_all_that_are_done",
            f"{FAULTS}::test_no_offset_is_committed_past_a_record_that_is_not_done",
        ),
    ),
    Mutant(
        "a failed second page ends the list",
        "consumer/graph/calendars.py",
        "            page: _Page[T] = await self._read(operation, following, partial(_page, read))\n",
        "            try:\n"
        "                page: _Page[T] = await self._read(operation, following, partial(_page, read))\n"
        "            except TransientError:\n"
        "                if following == path:\n"
        "                    raise\n"
        "                break\n",
        ("tests/unit/graph/test_pages.py::test_a_page_that_fails_fails_the_whole_list",),
    ),
    Mutant(
        "no fuse on the topic's way",
        "consumer/sync/routing.py",
        "if not is_blown(vanished, known) or",
        "if vanished or",
        (f"{SWEEP}::test_a_wiped_table_that_arrives_as_deletions_trips_the_fuse_too",),
    ),
    Mutant(
        "no fuse on the sweep's way",
        "consumer/sync/conclusions.py",
        "        if self._is_held():",
        "        if not self:",
        (f"{SWEEP}::test_vanished_jobs_beyond_the_fuse_are_kept_until_allowed",),
    ),
    Mutant(
        "reads_as is always true",
        "consumer/domain/event.py",
        "return self.owned == (",
        "return True or self.owned == (",
        (f"{PLAN}::test_an_edit_of_any_owned_field_is_seen",),
    ),
    Mutant(
        "the sweep ignores the etag",
        "consumer/domain/compare.py",
        "summary.etag == link.etag",
        "True",
        (f"{SWEEP}::test_a_persons_edit_of_our_event_is_repaired_once",),
    ),
    Mutant(
        "a dead letter's delivery failure is ignored",
        "consumer/kafka/dead_letters.py",
        "            if error is None:\n                delivered",
        "            if True:\n                delivered",
        (
            (
                "tests/unit/kafka/test_dead_letters.py::"
                "test_a_refused_dead_letter_is_written_again_until_the_broker_accepts_it"
            ),
        ),
    ),
    Mutant(
        "the receipt is given back before the letter is safe",
        "consumer/kafka/refused.py",
        "receipt.split(2)",
        "receipt.split(1)",
        (
            (
                "tests/unit/kafka/test_intake.py::"
                "test_a_refused_changes_receipts_come_back_after_its_dead_letter_and_its_lane_does_not_wait"
            ),
        ),
    ),
    Mutant(
        "a letter is not waited for, only polled for",
        "consumer/kafka/dead_letters.py",
        "                await delivered\n",
        "                self._producer.poll(0)\n",
        ("tests/unit/kafka/test_dead_letters.py::test_a_dead_letter_without_a_delivery_report_is_not_written",),
    ),
    Mutant(
        "a letter's delivery is not waited for at all",
        "consumer/kafka/dead_letters.py",
        "                await delivered\n",
        "                pass\n",
        ("tests/unit/kafka/test_dead_letters.py::test_a_dead_letter_without_a_delivery_report_is_not_written",),
    ),
    Mutant(
        "lanes in flight are ignored in routing",
        "consumer/sync/routing.py",
        ", *self._lanes.holding(arrival.job_id)}",
        "}",
        ((f"{FAULTS}::test_a_reassigned_job_leaves_the_mailbox_in_whose_lane_it_waits_without_any_link"),),
    ),
    Mutant(
        "pending holders are ignored in routing",
        "consumer/store/scripts/begin.lua",
        "      redis.call('HSET', ARGV[5] .. 'held:' .. job, ARGV[3], '')\n",
        "",
        (f"{ROUTING}::test_routing_returns_every_holder_and_pending_ones_too",),
    ),
    Mutant(
        "a tombstone of equal rank is ignored in the plan",
        "consumer/domain/plan.py",
        " or (isinstance(memory, Tombstone) and wanted is not None and memory.rank == rank)",
        "",
        (f"{PLAN}::test_a_tombstone_stops_states_of_its_own_rank_and_a_link_does_not",),
    ),
    Mutant(
        "a tombstone of equal rank is ignored in begin.lua",
        "consumer/store/scripts/begin.lua",
        "not is_greater(rank, string.sub(tombstone, 2, 9))",
        "is_greater(string.sub(tombstone, 2, 9), rank)",
        (f"{RULES}::test_a_tombstone_stops_a_create_of_its_own_rank",),
    ),
    Mutant(
        "the transactionId is renewed on a retry",
        "consumer/store/scripts/begin.lua",
        "used = string.sub(memory, 18)",
        "used = transaction",
        (f"{RULES}::test_a_create_of_unknown_outcome_keeps_its_transaction_id_at_the_same_and_at_a_newer_revision",),
    ),
    Mutant(
        "a 403 parks without a second look",
        "consumer/sync/refusal_judge.py",
        "judged = whose(refusal, compared)",
        'judged = "mailbox"',
        (f"{REFUSALS}::test_a_refusal_of_every_mailbox_suspends_the_site_and_parks_none",),
    ),
    Mutant(
        "a refused probe counts as success",
        "consumer/sync/site_probes.py",
        "if answer is None and self._sites.get(site_id) is site:",
        "if self._sites.get(site_id) is site:",
        (f"{REFUSALS}::test_consent_for_reading_only_suspends_the_site_until_writing_is_allowed",),
    ),
    Mutant(
        "a refused write is compared with a read",
        "consumer/sync/refusal_judge.py",
        "asks = WHOLE | WRITE if isinstance(refusal, ForbiddenError) and refusal.write else WHOLE",
        "asks = WHOLE",
        ("tests/unit/sync/test_site_registry.py::test_a_refused_write_is_compared_with_a_write",),
    ),
    Mutant(
        "a recovery enables nothing",
        "consumer/sync/scheduler.py",
        "if every_mailbox or parking.hourly or shared:",
        "if every_mailbox:",
        (f"{REFUSALS}::test_recovery_enables_only_the_mailboxes_parked_since_the_trouble_began",),
    ),
    Mutant(
        "a 4xx without Graph's code decides",
        "consumer/graph/errors.py",
        "if not code:",
        "if not code and status >= 500:",
        ("tests/unit/graph/test_errors.py",),
    ),
    Mutant(
        "a lease is checked before the token alone",
        "consumer/graph/throttle.py",
        "if call.lease is not None and not call.lease.may_send(now):",
        "if False:",
        (
            "tests/unit/graph/test_dispatcher_answers.py::test_a_lease_that_ends_while_the_token_is_fetched_sends_nothing",
        ),
    ),
    Mutant(
        "any 404 of Core's path means that the job is gone",
        "consumer/core/api.py",
        'problem.get("code") == "job_not_found" and ',
        "",
        ("tests/contract/test_core_api.py",),
    ),
    Mutant(
        "an event that no view shows counts as moved back",
        "consumer/sync/apply.py",
        "if not situation.out_of_view or situation.wanted is None:",
        "if situation.wanted is not None:",
        (
            "tests/simulation/test_out_of_view.py::test_an_event_that_no_update_brings_into_view_is_recreated_by_one_sweep",
        ),
    ),
    Mutant(
        "a mark trusts the link",
        "consumer/sync/look.py",
        "if not _is_trusted(",
        "if True or not _is_trusted(",
        ("tests/simulation/test_found_by_stories.py",),
    ),
    Mutant(
        "a link is trusted after a write in doubt",
        "consumer/sync/run_context.py",
        "elif not known and isinstance(link, Link):",
        "elif False and isinstance(link, Link):",
        ("tests/simulation/test_found_by_stories.py",),
    ),
    Mutant(
        "a create in doubt is forgotten with the store",
        "consumer/sync/lane_runs.py",
        "change.transaction_id = result.in_doubt.get(job_id, known)",
        "change.transaction_id = None",
        (f"{FAULTS}::test_a_create_whose_link_the_store_has_forgotten_is_looked_up_before_it_is_repeated",),
    ),
    Mutant(
        "runs begin at once after a loss",
        "consumer/sync/reconcile.py",
        "self._quiet_until = now + QUIET_SECONDS",
        "self._quiet_until = now",
        (
            "tests/simulation/test_lost_data.py::test_no_run_begins_right_after_a_loss_while_others_may_still_be_sending",
        ),
    ),
    Mutant(
        "connections to a server that refuses writes are kept",
        "consumer/store/pipeline.py",
        "refuses_writes(answer) for answer in answers):\n            await self._leave_server()",
        "refuses_writes(answer) for answer in answers):\n            pass",
        ("tests/contract/test_store_failover.py",),
    ),
    Mutant(
        "a mailbox is enabled by any finish",
        "consumer/store/scripts/finish.lua",
        "if ARGV[8] == '1' then",
        "if true then",
        (f"{OPERATORS}::test_a_mailbox_that_is_tried_hourly_is_enabled_when_it_has_answered_and_only_then",),
    ),
    Mutant(
        "a record of equal rank is never covered",
        "consumer/sync/change.py",
        "return self.receipt.covers(present.receipt)",
        "return False",
        ("tests/unit/sync/test_change.py",),
    ),
    Mutant(
        "an incomplete sweep is remembered as a complete one",
        "consumer/sync/site_sweep.py",
        "if self._report.failure is None and (",
        "if (",
        ("tests/simulation/test_incomplete_sweeps.py",),
    ),
    Mutant(
        "an event made without its tag is only linked",
        "consumer/sync/apply.py",
        "if claimed_by is not None:",
        "if False:",
        ("tests/simulation/test_protocol.py::test_an_event_that_was_made_without_its_tag_gets_it",),
    ),
    Mutant(
        "the inner Retry-After of a batch is ignored",
        "consumer/graph/throttle.py",
        "if wait := retry_after(headers, own=own):",
        "if wait := 0.0:",
        ("tests/unit/graph/test_dispatcher_answers.py::test_a_retry_after_within_a_batch_applies_only_to_its_mailbox",),
    ),
    Mutant(
        "copies are kept",
        "consumer/domain/plan.py",
        "    surplus = tuple(event_id for event_id in ids if event_id != kept.event_id)\n    if",
        "    surplus = ()\n    if",
        (f"{PLAN}::test_of_several_events_the_linked_one_stays",),
    ),
    Mutant(
        "another site's tag is taken for ours",
        "consumer/domain/compare.py",
        "if owner == site_id",
        "if owner",
        ("tests/unit/domain/test_compare.py::test_an_event_with_another_sites_tag_is_not_seen",),
    ),
    Mutant(
        "a stop commits nothing",
        "consumer/kafka/group.py",
        "            self._commits.commit_last(self._consumer, self._take_receipts)\n",
        "            pass\n",
        ("tests/unit/kafka/test_group.py::test_a_stop_commits_what_is_done_and_nothing_that_is_not",),
    ),
    Mutant(
        "the drain does not wait",
        "consumer/sync/lanes.py",
        "await asyncio.wait(self._tasks, timeout=deadline)",
        "pass",
        (f"{FAULTS}::test_a_drain_waits_for_running_work_and_begins_nothing",),
    ),
    Mutant(
        "the window's edge is reversed",
        "consumer/domain/window.py",
        "self.start <= starts_at < self.end",
        "self.start < starts_at <= self.end",
        ("tests/unit/domain/test_window.py::test_a_moment_is_in_exactly_one_of_two_adjoining_windows",),
    ),
    Mutant(
        "a time zone is kept for ever",
        "consumer/sync/zone_settings.py",
        "grant.zone is not None and grant.zone_is_fresh",
        "grant.zone is not None",
        (
            (
                "tests/simulation/test_time_zone_settings.py::"
                "test_a_zone_is_read_again_hourly_and_its_change_rewrites_the_events"
            ),
        ),
    ),
    Mutant(
        "the store calls every time zone fresh",
        "consumer/store/scripts/begin.lua",
        "zone_age = now - struct.unpack('>I8', zone)",
        "zone_age = 0",
        (f"{RULES}::test_a_time_zone_is_fresh_until_an_hour_has_passed_on_the_stores_clock",),
    ),
    Mutant(
        "data of a newer version are read",
        "consumer/store/version.py",
        "found.isdigit() and int(found) <= FORMAT",
        "found.isdigit()",
        (f"{VERSION}::test_data_of_a_newer_version_are_refused",),
    ),
    Mutant(
        "an emptied store has no version",
        "consumer/store/scripts/begin.lua",
        "  redis.call('SET', ARGV[5] .. 'version', FORMAT, 'NX')\n",
        "",
        (f"{VERSION}::test_a_store_that_is_emptied_under_a_connection_gets_its_version_again",),
    ),
    Mutant(
        "forget_zone does nothing",
        "consumer/store/sweeps.py",
        'await self._client.call("DEL", self._client.key(f"timezone:{mailbox}"))',
        "pass",
        (f"{LOST_DATA}::test_a_forgotten_time_zone_is_unknown",),
    ),
    Mutant(
        "begin.lua refuses the newest rank that comes again",
        "consumer/store/scripts/begin.lua",
        "local routed = newest and is_greater(string.sub(newest, 1, 8), rank)",
        "local routed = newest and not is_greater(rank, string.sub(newest, 1, 8))",
        (f"{RULES}::test_the_newest_state_read_again_is_not_superseded",),
    ),
    Mutant(
        "begin.lua takes a pending link of equal rank for a newer one",
        "consumer/store/scripts/begin.lua",
        "not is_greater(string.sub(memory, 2, 9), rank)",
        "is_greater(rank, string.sub(memory, 2, 9))",
        (f"{RULES}::test_a_create_of_unknown_outcome_keeps_its_transaction_id_at_the_same_and_at_a_newer_revision",),
    ),
    Mutant(
        "ranks are compared as the server's locale orders them",
        "consumer/store/scripts/common.lua",
        "  return a_high > b_high or (a_high == b_high and a_low > b_low)\n",
        "  return a > b\n",
        (f"{RULES}::test_the_higher_of_two_revisions_is_the_newer_in_any_locale_of_the_server",),
    ),
    Mutant(
        "a mailbox that is not known is not listed",
        "consumer/sync/reconcile.py",
        "if not unlisted:",
        "if True or not unlisted:",
        (
            (
                "tests/simulation/test_lost_data.py::"
                "test_changes_after_the_store_lost_its_data_update_the_existing_events"
            ),
        ),
    ),
    Mutant(
        "who takes an expired lease over marks nothing",
        "consumer/store/scripts/begin.lua",
        "    for i = 3, #parts do\n",
        "    for i = 3, 2 do\n",
        (f"{LEASES}::test_taking_over_an_expired_lease_marks_the_jobs_of_its_run",),
    ),
    Mutant(
        "a request is sent at any age of its lease",
        "consumer/sync/lease.py",
        "return not self.lost and now - self.renewed_at <= SEND_WITHIN_SECONDS",
        "return not self.lost",
        ("tests/simulation/test_lost_data.py::test_a_request_leaves_only_under_a_lease_that_was_renewed_in_time",),
    ),
)
