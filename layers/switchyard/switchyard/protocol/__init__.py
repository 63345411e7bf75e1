"""The protocol: starts each job once, within its lane's limit. Knows no AWS API."""
