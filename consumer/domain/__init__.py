"""The pure middle: jobs, events and the plan that makes them equal. No I/O, no clock, no randomness."""
