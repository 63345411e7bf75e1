"""The errors a caller sees, as AWS Batch words them."""

import uuid


class ApiError(Exception):
    """An answer other than success: `code` is the AWS error code, `status` the HTTP status."""

    code = "ServerException"
    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ClientError(ApiError):
    """The caller's fault: the one 4xx error that AWS Batch declares."""

    code = "ClientException"
    status = 400


class InvalidRequestError(ClientError):
    """A ClientException from Batch's own validation, in the wrapping AWS gives those."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Error executing request, Exception : {message}, RequestId: {uuid.uuid4()}")


class ThrottledError(ApiError):
    """Too many calls a second."""

    code = "TooManyRequestsException"
    status = 429

    def __init__(self) -> None:
        super().__init__("Too Many Requests")


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
