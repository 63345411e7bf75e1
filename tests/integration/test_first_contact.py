"""A new user's first steps on the running system: addresses, work it refuses, a sample event."""

import json
import subprocess
import sys

import pytest

from local import functions, places, samples
from local.environment import ROOT
from local.samples import EVENTS
from tests.integration.conftest import FOLDER
from tests.integration.system import System

LOOK = """
import boto3, os, urllib.request
print(boto3.client("s3").head_bucket(Bucket=os.environ["BUCKET"])["ResponseMetadata"]["HTTPStatusCode"])
print(boto3.client("sts").get_caller_identity()["Account"])
asked = urllib.request.Request(os.environ["API"] + "/jobs?status=RUNNING", headers={"x-api-key": os.environ["KEY"]})
print(urllib.request.urlopen(asked).status)
"""


def local(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `python -m local` on the running system."""
    command = [sys.executable, "-m", "local", "--state", str(FOLDER), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_shell_that_takes_over_the_addresses_reaches_the_system(system: System) -> None:
    exports = places.exports(places.variables(system.stack))

    done = subprocess.run(
        ["bash", "-c", f'{exports}\n"$0" -c "$1"', sys.executable, LOOK], capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == ["200", "000000000000", "200"], done.stderr


def test_a_file_that_no_rule_announces_is_refused_at_once(
    system: System, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("sent") / "clip.flv"
    file.touch()

    done = local("send", str(file))

    assert done.returncode == 1
    assert ".mp4 .MP4 .mov .MOV" in done.stderr
    assert "Traceback" not in done.stderr
    assert "uploads/clip.flv" not in {each["Key"] for each in objects(system)}


def test_every_function_can_be_imported(system: System) -> None:
    assert len(functions.names(system.stack)) == len(list((ROOT / "functions").glob("*/app.py")))
    assert functions.broken(system.stack) == {}


def test_a_sample_asks_this_stack_for_a_job_and_its_end_is_told(system: System) -> None:
    before = samples.scene(system.stack)
    with samples.filled(EVENTS / "sqs_to_batch" / "s3_put.json", system.stack) as event:
        system.invoke("SqsToBatchFunction", json.loads(event.read_text()))

    [line] = samples.outcome(system.stack, before, patience=60)

    assert line.startswith("job ")
    assert "FAILED" in line or "COMPLETED" in line


def test_a_sample_of_rubbish_is_told_with_the_reason_of_its_dead_letter(system: System) -> None:
    before = samples.scene(system.stack)
    system.invoke("SqsToBatchFunction", json.loads((EVENTS / "sqs_to_batch" / "rubbish.json").read_text()))

    lines = samples.outcome(system.stack, before, patience=0)

    assert any(line.startswith("dead letter in VideoDeadLetterQueue: INVALID_MESSAGE") for line in lines), lines
    system.messages("VideoDeadLetterQueue")


def objects(system: System) -> list[dict[str, str]]:
    """What the media bucket holds under uploads/."""
    found = system.stack.client("s3").list_objects_v2(Bucket=system.bucket, Prefix="uploads/")
    return list(found.get("Contents", ()))
