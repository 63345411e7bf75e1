"""Reads and writes JobsTable and LanesTable in DynamoDB."""
