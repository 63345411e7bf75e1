"""The base of the stand-in's services: operations by name, validation with AWS's models, paging, tags."""

import base64
import json
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

from botocore.model import Shape as ModelShape
from botocore.session import Session
from botocore.validate import ParamValidator
from starlette.requests import Request

from local.compute.config import Shape
from local.compute.errors import ClientError, ThrottledError

MAX_TAGS = 50
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256


@dataclass(frozen=True)
class Grant:
    """A permission that a call needs: an action such as `batch:SubmitJob` on each of the resources."""

    action: str
    resources: tuple[str, ...] = ()


class Service(ABC):
    """An AWS service. Each operation is a method from request members to response members.

    Shapes and required members come from botocore's model of the service.
    """

    name: ClassVar[str]
    """Its name for botocore, in signatures and in IAM's actions."""
    title: ClassVar[str]
    invalid: ClassVar[type[ClientError]]
    """Its error for an invalid request."""
    throttled: ClassVar[type[ThrottledError]]
    """Its error for too many requests."""

    def __init__(self) -> None:
        self._model = Session().get_service_model(self.name)
        self._validator = ParamValidator()

    @property
    @abstractmethod
    def operations(self) -> Mapping[str, Callable[[Shape], Shape]]:
        """The supported operations, by name."""

    @abstractmethod
    def named(self, request: Request) -> tuple[str, Shape]:
        """A request's operation, and the members in its path and query.

        Raises:
            ClientError: the service has no such operation.
        """

    @abstractmethod
    def grants(self, operation: str, request: Shape) -> list[Grant]:
        """The permissions that a call needs, the operation's own first; without resources if IAM has none for it."""

    @abstractmethod
    def aliases(self, request: Shape) -> tuple[str, ...]:
        """The names by which a fault can select the request's run."""

    def operation(self, request: Request) -> tuple[str, Shape]:
        """As `named`, for supported operations.

        Raises:
            ClientError: the operation isn't supported.
        """
        name, members = self.named(request)
        if name not in self.operations:
            raise ClientError(f"{name} isn't part of the local stand-in for {self.title}")
        return name, members

    def call(self, operation: str, request: Shape) -> Shape:
        """Answer an operation.

        Raises:
            ApiError: as AWS would.
        """
        shape = cast("ModelShape", self._model.operation_model(operation).input_shape)
        report = self._validator.validate(request, shape)
        if report.has_errors():
            raise self.invalid(report.generate_report())
        return self.operations[operation](request)

    # ---- checks for both services ------------------------------------------------------------------------------

    def check_unsupported(self, request: Shape, members: Iterable[str]) -> None:
        """Refuse unsupported members rather than ignore them.

        Raises:
            ClientError: the request has one of them.
        """
        if unsupported := [member for member in members if request.get(member)]:
            raise ClientError(f"the local stand-in for {self.title} doesn't support {', '.join(unsupported)}")

    def check_tags(self, tags: Mapping[str, str]) -> None:
        """Refuse tags that AWS would refuse."""
        if len(tags) > MAX_TAGS:
            raise self.invalid(f"A resource can have at most {MAX_TAGS} tags")
        for key, value in tags.items():
            if not 1 <= len(key) <= MAX_TAG_KEY or key.lower().startswith("aws:") or not _taggable(key):
                raise self.invalid(f"Invalid tag key: {key}")
            if len(value) > MAX_TAG_VALUE or not _taggable(value):
                raise self.invalid(f"Invalid tag value for key {key}: {value}")

    def page_size(self, request: Shape, largest: int) -> int:
        """The number of items of a page."""
        asked = int(request.get("maxResults", largest))
        if asked < 1:
            raise self.invalid("maxResults must be at least 1")
        return min(asked, largest)

    def position(self, request: Shape, scope: object) -> int | None:
        """Where the page begins, from `nextToken`. A token is valid only for the list it came from."""
        given = request.get("nextToken")
        if not given:
            return None
        try:
            position, of = json.loads(base64.urlsafe_b64decode(given))
        except ValueError:
            position, of = None, None
        if not isinstance(position, int) or of != scope:
            raise self.invalid("Invalid nextToken")
        return position


def token(position: int, scope: object) -> str:
    """The `nextToken` that `Service.position` reads."""
    return base64.urlsafe_b64encode(json.dumps([position, scope]).encode()).decode()


def _taggable(text: str) -> bool:
    # AWS allows letters and digits of any script, spaces, and these.
    return all(letter in "+-=._:/@" or unicodedata.category(letter)[0] in "LNZ" for letter in text)
