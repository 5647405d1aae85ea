"""Executing a program."""
