"""Searches committed files for secrets (keys, tokens, passwords) with detect-secrets' detectors.

False findings are listed in known.toml, beside this file, by hash and with a reason. A comment in the code
(`pragma: allowlist secret`) has no effect, because it gives no reason.
"""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.settings import get_settings, transient_settings

HERE = Path(__file__).resolve().parent
KNOWN = HERE / "known.toml"

# Hundreds of ETags, digests and trace ids here are hexadecimal. A hexadecimal secret would have a telling name, which
# the keyword detector finds.
_UNUSED = {"HexHighEntropyString"}
_COMMENT = "detect_secrets.filters.allowlist.is_line_allowlisted"


def main() -> int:
    """Print every finding, without the secret itself; 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=HERE.parents[1], help="a checkout")
    root = parser.parse_args().root
    known = tomllib.loads(KNOWN.read_text())
    findings = [each for each in _found(root) if each.secret_hash not in known]
    for each in findings:
        place = f"{Path(each.filename).relative_to(root)}:{each.line_number}"
        sys.stderr.write(f"{place}: {each.type}; if it is no secret, say why in {KNOWN.name}: {each.secret_hash}\n")
    return 1 if findings else 0


def _found(root: Path) -> Iterator[PotentialSecret]:
    command = ("git", "ls-files", "-z")
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout  # noqa: S603 - fixed
    names = [name for name in listed.split("\0") if (root / name).is_file()]
    with ProcessPoolExecutor() as pool:
        for found in pool.map(_scanned, [root] * len(names), names, chunksize=8):
            yield from found


def _scanned(root: Path, name: str) -> list[PotentialSecret]:
    detectors = get_mapping_from_secret_type_to_class().values()
    used = [{"name": each.__name__} for each in detectors if each.__name__ not in _UNUSED]
    with transient_settings({"plugins_used": used}):
        get_settings().disable_filters(_COMMENT)
        secrets = SecretsCollection(root=str(root))
        secrets.scan_file(name)
    return [secret for _, secret in secrets]


if __name__ == "__main__":
    sys.exit(main())
