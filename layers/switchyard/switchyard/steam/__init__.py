"""Copies of players' Steam libraries: the clients of Steam and IGDB, the diff, the table, and the import itself."""
