"""Redis: links, leases, dirty marks, parked mailboxes. :mod:`consumer.store.keys` lists every key."""
