"""Tells others how jobs go: events on EventBridge, webhooks, and the tokens of Step Functions."""
