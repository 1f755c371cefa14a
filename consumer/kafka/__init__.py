"""The topic: the pump that owns the consumer, the ledger of offsets, decoding, dead letters."""
