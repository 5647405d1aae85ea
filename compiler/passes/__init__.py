"""Rewrites of constraint trees, one file each."""
