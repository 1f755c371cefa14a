"""Redis: links, leases, dirty marks, parked mailboxes."""
