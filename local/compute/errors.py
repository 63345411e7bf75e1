"""The errors a caller sees, as AWS Batch and Amazon ECS word them."""

import uuid


class ApiError(Exception):
    """An answer other than success: `code` is the AWS error code, `status` the HTTP status, `more` further members."""

    code = "ServerException"
    status = 500

    def __init__(self, message: str, **more: object) -> None:
        super().__init__(message)
        self.message = message
        self.more = more


class ClientError(ApiError):
    """The caller's fault: the one 4xx error that AWS Batch declares, and ECS's most common one."""

    code = "ClientException"
    status = 400


class InvalidRequestError(ClientError):
    """A ClientException from Batch's own validation, in the wrapping AWS gives those."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Error executing request, Exception : {message}, RequestId: {uuid.uuid4()}")


class InvalidParameterError(ClientError):
    """ECS: a member has a value that it can't have."""

    code = "InvalidParameterException"


class ClusterNotFoundError(ClientError):
    """ECS: there is no such cluster."""

    code = "ClusterNotFoundException"

    def __init__(self) -> None:
        super().__init__("Cluster not found.")


class ServiceNotFoundError(ClientError):
    """ECS: there is no such service; here there are none."""

    code = "ServiceNotFoundException"

    def __init__(self) -> None:
        super().__init__("Service not found.")


class PlatformUnknownError(ClientError):
    """ECS: Fargate has no such platform version."""

    code = "PlatformUnknownException"

    def __init__(self) -> None:
        super().__init__("The specified platform version does not exist.")


class ConflictError(ClientError):
    """ECS: the client token belongs to another request, which these tasks came of."""

    code = "ConflictException"

    def __init__(self, task_arns: list[str]) -> None:
        super().__init__(
            "The request could not be processed because the client token was used with other parameters.",
            resourceIds=task_arns,
        )


class ThrottledError(ApiError):
    """Batch: too many calls a second."""

    code = "TooManyRequestsException"
    status = 429
    text = "Too Many Requests"

    def __init__(self) -> None:
        super().__init__(self.text)


class RateExceededError(ThrottledError):
    """ECS: too many calls a second."""

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
    """The emulator, which knows who may do what, doesn't answer."""

    status = 503
    code = "ServiceUnavailable"
