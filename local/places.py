"""The running system's addresses, for people and for their shells."""

import shlex
from collections.abc import Mapping

from local import api
from local.environment import credentials, shown
from local.stack import STACK_NAME, LocalStack


def rows(stack: LocalStack) -> list[tuple[str, str]]:
    """Labels and addresses."""
    return [
        ("AWS emulator", f"{stack.emulator.url}  (pid {stack.emulator.pid})"),
        ("Batch and ECS", f"{stack.compute.url}  (pid {stack.compute.pid})"),
        ("Steam, IGDB", f"{stack.steam.url}  (pid {stack.steam.pid})"),
        ("HTTP API", api.address(stack)),
        ("API key", api.key(stack)),
        ("videos", f"s3://{stack.resource('MediaBucket')}/{stack.parameters.get('UploadPrefix', 'uploads/')}"),
        ("logs", shown(stack.logs)),
        ("your shell", 'eval "$(make env)" sets up the AWS CLI, $API, $KEY and $BUCKET'),
    ]


def variables(stack: LocalStack) -> Mapping[str, str]:
    """Environment variables that point the AWS CLI, SDKs and the docs' examples at the system."""
    return {
        **credentials(stack.emulator.url),
        "AWS_ENDPOINT_URL_BATCH": stack.compute.url,
        "AWS_ENDPOINT_URL_ECS": stack.compute.url,
        "AWS_ENDPOINT_URL_S3VECTORS": stack.compute.url,
        "STACK": STACK_NAME,
        "API": api.address(stack),
        "KEY": api.key(stack),
        "BUCKET": stack.resource("MediaBucket"),
    }


def exports(variables: Mapping[str, str]) -> str:
    """Shell commands that set these variables, for `eval` in bash, zsh or any POSIX shell.

    They first remove all other `AWS_*` variables, so that no profile or session token of a real account is mixed in.
    """
    return "\n".join(
        [
            r"unset AWS_PROFILE $(env | sed -n 's/^\(AWS_[A-Z0-9_]*\)=.*/\1/p')",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            # A proxy can't reach this machine's loopback address.
            *(f'export {name}="127.0.0.1,localhost${{{name}:+,${name}}}"' for name in ("NO_PROXY", "no_proxy")),
        ]
    )
