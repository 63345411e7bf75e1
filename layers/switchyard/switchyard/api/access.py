"""Who may see which job, and by which names. A job that the caller may not see answers 404, as if it did not exist."""

from collections.abc import Callable, Iterator
from urllib.parse import unquote

from switchyard.api.http import Problem, Request
from switchyard.errors import ForeignRow
from switchyard.messages.envelope import is_identifier
from switchyard.names import legal_name, owned_name


def find_job[T](request: Request, read: Callable[[str], T | None], owner: Callable[[T], str | None]) -> T:
    """Reads the job that a request's path names: by its id, or by the id that its sender gave.

    Raises:
        Problem: 404 if there is no such job, or it is not the caller's; 409 if its row is not ours.
    """
    for job_id in _candidates(request):
        try:
            found = read(job_id)
        except ForeignRow:
            if request.user_id is not None:  # whose it is, such a row can't say
                continue
            raise foreign_row() from None
        if found is not None and is_visible(request, owner(found)):
            return found
    raise not_found()


def _candidates(request: Request) -> Iterator[str]:
    """The ids under which the job may be stored."""
    try:
        # API Gateway's REST APIs pass path parameters as sent, percent-encoded.
        name = unquote(request.path.get("jobId", ""), errors="strict")
    except UnicodeDecodeError:
        return
    if is_identifier(name):
        yield legal_name(name)
        if request.user_id is not None:
            yield owned_name(request.user_id, name)


def is_visible(request: Request, owner: str | None) -> bool:
    """Whether the caller may see a job: a user sees only their own, an API key or IAM role sees all."""
    return request.user_id is None or request.user_id == owner


def foreign_row() -> Problem:
    """409: the job's row is not ours, so nothing can be done with the job."""
    return Problem(409, ForeignRow.code, "Another program made or changed this job's record.")


def not_found() -> Problem:
    """404, the same for a job that does not exist and for another user's."""
    return Problem(404, "NOT_FOUND", "There is no such job.")
