"""Many sequences that come and go: slots, the scheduler, and what is shared between requests."""
