"""JobsTable and LanesTable in DynamoDB."""
