"""Explores all interleavings of the protocol's parts, call by call.

explorer    the search: actors take turns at each call to a port, with at most one fault
replaying   runs an actor up to its next call
scenarios   states to start from, with the actors that meet there
invariants  what must hold after every call, and once everything has come to rest
__main__    the whole search, and the replay of one schedule
"""
