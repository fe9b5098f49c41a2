"""Circle packing: the smallest problem that ships, and the one that `docs/new-problem.md` walks through."""
