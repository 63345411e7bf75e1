"""Whether AWS Batch runs a failed job again. Pure.

https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
"""

from local.compute.config import Shape


def retried(strategy: Shape, *, attempts: int, exit_code: int | None, reason: str, status_reason: str) -> bool:
    """Whether a job that has failed `attempts` times runs again.

    The first rule whose conditions all hold decides. If there is none, the job is retried.
    """
    if attempts >= strategy.get("attempts", 1):
        return False
    seen = {
        "onExitCode": "" if exit_code is None else str(exit_code),
        "onReason": reason,
        "onStatusReason": status_reason,
    }
    for rule in strategy.get("evaluateOnExit", ()):
        if all(_matches(rule[condition], value) for condition, value in seen.items() if condition in rule):
            return bool(rule["action"].upper() == "RETRY")
    return True


def _matches(pattern: str, value: str) -> bool:
    # AWS's patterns have one wildcard, a trailing asterisk. All other characters are literal.
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern
