"""A new user's first steps on the running system: addresses, a sample event."""

import json
import subprocess
import sys

from local import functions, places, samples
from local.environment import ROOT
from local.samples import EVENTS
from tests.integration.system import System

LOOK = """
import boto3, os, urllib.request
print(boto3.client("s3").head_bucket(Bucket=os.environ["BUCKET"])["ResponseMetadata"]["HTTPStatusCode"])
print(boto3.client("sts").get_caller_identity()["Account"])
asked = urllib.request.Request(os.environ["API"] + "/jobs?status=RUNNING", headers={"x-api-key": os.environ["KEY"]})
print(urllib.request.urlopen(asked).status)
"""


def test_a_shell_that_takes_over_the_addresses_reaches_the_system(system: System) -> None:
    exports = places.exports(places.variables(system.stack))

    done = subprocess.run(
        ["bash", "-c", f'{exports}\n"$0" -c "$1"', sys.executable, LOOK], capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == ["200", "000000000000", "200"], done.stderr


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
