"""The executor on a Ray cluster. Needs the extra `[ray]`; only `address` can be imported without it."""
