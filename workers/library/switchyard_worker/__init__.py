"""What every worker needs: the worker's side of the contract in workers/CONTRACT.md."""
