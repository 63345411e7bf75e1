"""A local HTTPS endpoint that stands in for AWS, for functions that run as deployed. `bench.aws` supplies the answers.

TLS matters: at a small share of a CPU, loading certificates and handshakes are a good part of a first event.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from types import SimpleNamespace
from typing import Any, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.aws import Aws
from bench.environment import RUNTIME

_HOST: Final = "127.0.0.1"
_OF_BATCH: Final = {"submitjob": "SubmitJob", "terminatejob": "TerminateJob", "describejobs": "DescribeJobs"}
_OF_TARGET: Final = {"DynamoDB": "dynamodb", "AmazonSQS": "sqs", "AmazonEC2ContainerServiceV20141113": "ecs"}


@dataclass
class Answering:
    """Answers for all of AWS: from `instead` where it has the operation, else from `aws`. Counts requests in `calls`.

    Attributes:
        instead: by operation, or by operation and DynamoDB table, the JSON of the answer.
        url: the endpoint's address.
        certificates: a bundle of botocore's certificates and this endpoint's own.
    """

    aws: Aws
    url: str
    certificates: Path
    instead: dict[str | tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def variables(self) -> dict[str, str]:
        """Returns the environment variables by which a process finds the endpoint."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_CA_BUNDLE": f"{self.certificates}"}

    def answer(self, service: str, operation: str, body: bytes) -> tuple[int, bytes]:
        """Returns status and body of the answer."""
        self.calls[operation] += 1
        table = json.loads(body).get("TableName", "") if service == "dynamodb" else ""
        for key in ((operation, table), operation):
            if key in self.instead:
                time.sleep(self.aws.latency)
                return 200, json.dumps(self.instead[key]).encode()
        request = SimpleNamespace(url=self.url, body=body)
        answer = self.aws.answer(cast("Any", request), f"before-send.{service}.{operation}")
        assert answer is not None  # noqa: S101 - it answers for DynamoDB too
        return answer.status_code, b"".join(answer.raw.stream())


@contextmanager
def answering(folder: Path, latency: float) -> Iterator[Answering]:
    """Serves the endpoint while the block runs. Each call takes `latency` seconds; `folder` holds its certificates."""
    bundle, chain = _certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    made = Answering(Aws(latency=latency), "", bundle)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket, Any]:
            connection, address = super().get_request()
            # The connection's own thread does the handshake, on its first read.
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
            """Ignores connections that an ended function left open."""

    server = Server((_HOST, 0), _handler(made))
    made.url = f"https://{_HOST}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(answering: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = answering.answer(*self._asked(), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _asked(self) -> tuple[str, str]:
            service, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
            if operation:
                return _OF_TARGET[service.partition("_")[0]], operation
            path = self.path.rsplit("/", maxsplit=1)[-1]
            return ("s3vectors", path) if path == "QueryVectors" else ("batch", _OF_BATCH[path])

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Makes a certificate for localhost. Returns the bundle a client trusts, and the server's certificate with key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(_HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    bundle, chain = folder / "trusted.pem", folder / "server.pem"
    # As long as the bundle boto3 reads in Lambda: loading it is a good part of a client's first call.
    bundle.write_bytes((RUNTIME / "botocore" / "cacert.pem").read_bytes() + certificate)
    chain.write_bytes(certificate + secret)
    return bundle, chain
