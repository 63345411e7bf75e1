"""Who may see which job. A job that the caller may not see answers 404, as if it did not exist."""

import re

from switchyard.api.http import Problem, Request

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def job_id_of(request: Request) -> str:
    """The job id in a request's path.

    Raises:
        Problem: 404 if it is not a valid job id.
    """
    job_id = request.path.get("jobId", "")
    if not _JOB_ID.fullmatch(job_id):
        raise not_found()
    return job_id


def is_visible(request: Request, owner: str | None) -> bool:
    """Whether the caller may see a job: a user sees only their own, an API key or IAM role sees all."""
    return request.user_id is None or request.user_id == owner


def not_found() -> Problem:
    """404, the same for a job that does not exist and for another user's."""
    return Problem(404, "NOT_FOUND", "There is no such job.")
