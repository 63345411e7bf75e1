"""The errors that callers see, with the codes and messages of AWS Batch and Amazon ECS."""

import uuid


class ApiError(Exception):
    """An error response: `code` is the AWS error code, `status` the HTTP status, `more` has further members."""

    code = "ServerException"
    status = 500

    def __init__(self, message: str, **more: object) -> None:
        super().__init__(message)
        self.message = message
        self.more = more


class ClientError(ApiError):
    """The caller's fault: the only 4xx error that AWS Batch declares, and ECS's most common one."""

    code = "ClientException"
    status = 400


class InvalidRequestError(ClientError):
    """A ClientException from Batch's own validation, in AWS's wording."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Error executing request, Exception : {message}, RequestId: {uuid.uuid4()}")


class InvalidParameterError(ClientError):
    """ECS: a member has an invalid value."""

    code = "InvalidParameterException"


class ClusterNotFoundError(ClientError):
    """ECS: there is no such cluster."""

    code = "ClusterNotFoundException"

    def __init__(self) -> None:
        super().__init__("Cluster not found.")


class ServiceNotFoundError(ClientError):
    """ECS: there is no such service. Here there are no services at all."""

    code = "ServiceNotFoundException"

    def __init__(self) -> None:
        super().__init__("Service not found.")


class PlatformUnknownError(ClientError):
    """ECS: Fargate has no such platform version."""

    code = "PlatformUnknownException"

    def __init__(self) -> None:
        super().__init__("The specified platform version does not exist.")


class ConflictError(ClientError):
    """ECS: the client token was used by another request, which started these tasks."""

    code = "ConflictException"

    def __init__(self, task_arns: list[str]) -> None:
        super().__init__(
            "The request could not be processed because the client token was used with other parameters.",
            resourceIds=task_arns,
        )


class ThrottledError(ApiError):
    """Batch: too many calls per second."""

    code = "TooManyRequestsException"
    status = 429
    text = "Too Many Requests"

    def __init__(self) -> None:
        super().__init__(self.text)


class RateExceededError(ThrottledError):
    """ECS: too many calls per second."""

    code = "ThrottlingException"
    status = 400
    text = "Rate exceeded"


class UnsignedError(ApiError):
    """The request isn't signed."""

    code = "MissingAuthenticationTokenException"
    status = 403

    def __init__(self) -> None:
        super().__init__("Missing Authentication Token")


class EmulatorUnreachableError(ApiError):
    """The emulator, which checks permissions, doesn't answer."""

    status = 503
    code = "ServiceUnavailable"
