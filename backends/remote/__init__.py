"""Clients of other people's servers: one file per server, what they share in `client`, `wire` and `backend`."""
