"""Use cases: routing, lanes and the run that reconciles a mailbox, with the ports they need."""
