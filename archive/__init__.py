"""What a run found: an append-only log of events in SQLite, and the queries that draw conclusions from it."""
