"""The keys in Redis, below the prefix, and what bounds each.

========================  ======  =====================================================================================
``version``               string  version of the data's format, see :mod:`consumer.store.version`
``incarnation``           string  names the time since data were last lost, or may have been
``born``                  string  Unix time when this store was first used
``writable``              string  written to see whether Redis takes writes; kept 10 s
``job:{job}``             string  newest known rank, partition, offset and topic id; kept an hour
``held:{job}``            hash    holders: the mailboxes that hold the job's event, or may; no more than it has workers
``links:{mailbox}``       hash    job → link or pending link, see :mod:`consumer.store.codec`; links end 30 days after
                                  their event
``gone:{mailbox}/{job}``  string  tombstone; kept an hour
``mailboxes:{site}``      zset    addresses with links, in byte order
``lease:{app}/{address}`` string  until when, the token of the run that has the mailbox, the mailbox, and the jobs that
                                  the run may touch; kept 15 minutes
``known:{site}``          hash    address → the incarnation in which all its tagged events were listed; one field for
                                  each address that the site ever had
``timezone:{mailbox}``    string  when the mailbox's time-zone setting was read, and the setting; kept 30 days
``parked``                hash    mailbox → JSON: code, since, retry_at, note; until enabled
``paused``                hash    site → Unix time since when; until resumed
``blocked:{topic}``       hash    partition → JSON: offset, since (too many unreadable records in a row)
``replayed:{topic}``      hash    partition of the dead letters → the first offset that was not replayed
``dirty:{site}``          hash    address, NUL, job: what the sweep must look at → when it was marked (µs)
``deleted:{site}``        set     8-byte hashes of jobs whose rows were deleted; kept for one sweep interval
``events:{site}``         string  number of jobs with an event in the window, at the last complete sweep
``unread:{site}``         hash    address → number of sweeps in a row that could not read it
``sweep:{site}``          hash    when a complete sweep with nothing held last ended (Unix time); what is held and
                                  unavailable, see :mod:`consumer.sync.sweep_state`
``swept:{site}``          string  exists while the site's last sweep is younger than the interval
========================  ======  =====================================================================================

The scripts compute keys, so this needs one Redis (with replicas, if you like) and does not work on Redis Cluster.
"""

from typing import Final

from consumer.domain.mailbox import Mailbox

KEPT_SECONDS: Final = 3600
"""How long newest ranks and tombstones are kept, and a time zone counts as fresh."""
PAGE: Final = 500
"""The most fields or members that one command reads or writes, where a site's size would decide otherwise."""


def dirty_member(mailbox: Mailbox, job_id: str) -> str:
    """The field of ``dirty:{site}`` for this assignment."""
    return f"{mailbox.address}\0{job_id}"
