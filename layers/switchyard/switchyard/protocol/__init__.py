"""The protocol: each job once, within its lane's limit. No AWS shapes in here."""
