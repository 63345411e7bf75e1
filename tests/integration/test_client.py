"""The command `switchyard` does its work on the deployed system, through the real API."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from local.environment import ROOT
from tests.integration.system import PATIENCE, Item, System

LARGE = 96 * 2**20
"""Six parts."""


class Command:
    """Runs `switchyard --local` in the system's folder."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT / "client"), "XDG_STATE_HOME": str(home)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "switchyard_client", "--local", *words],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, code: int = 0, given: str | None = None) -> str:
        """Returns what a command prints; its exit code must be `code`."""
        process = self.start(*words)
        out, err = process.communicate(given, timeout=PATIENCE)
        assert process.returncode == code, (words, out, err)
        assert "Traceback" not in err
        return out + err

    def items(self, *words: str, code: int = 0, given: str | None = None) -> list[dict[str, Any]]:
        """Returns what a command prints with --json."""
        return [json.loads(line) for line in self("--json", *words, code=code, given=given).splitlines()]


@pytest.fixture
def switchyard(system: System, tmp_path: Path) -> Command:
    return Command(system.stack.folder, tmp_path / "home")


def plan(path: Path, **wanted: object) -> Path:
    """A video whose job does what it says (see `job`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted))
    return path


def test_files_are_uploaded_followed_and_their_results_fetched(switchyard: Command, tmp_path: Path) -> None:
    plan(tmp_path / "in" / "a.mp4", seconds=0.1)
    plan(tmp_path / "in" / "b.mkv", permanent="BROKEN")
    said = switchyard("upload", str(tmp_path / "in" / "a.mp4"), "--results", str(tmp_path / "out"))
    assert "COMPLETED" in said

    assert "BROKEN" in switchyard("upload", str(tmp_path / "in"), "--follow", code=3)
    [sent] = switchyard.items("upload", str(tmp_path / "in" / "a.mp4"))
    ended = switchyard.items("follow", sent["jobId"])[-1]
    assert (ended["jobId"], ended["status"]) == (sent["jobId"], "COMPLETED")
    assert sent["jobId"] in {job["jobId"] for job in switchyard.items("ls", "--kind", "video-analysis")}
    assert switchyard.items("show", "-", given=json.dumps(sent))[0]["status"] == "COMPLETED"


def test_a_large_upload_killed_and_interrupted_arrives_whole(
    system: System, switchyard: Command, tmp_path: Path
) -> None:
    file = tmp_path / "large.png"  # a picture becomes no job
    file.write_bytes(os.urandom(LARGE))
    words = ("upload", str(file), "--parallel", "1")
    for number, parts in ((signal.SIGKILL, 1), (signal.SIGINT, 3)):
        process = switchyard.start(*words)
        deadline = time.monotonic() + PATIENCE
        while len(arrived(system)) < parts:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
        process.send_signal(number)
        process.communicate(timeout=30)

    assert "(resumed)" in switchyard(*words)

    s3 = system.stack.client("s3")
    [key] = [each["Key"] for each in s3.list_objects_v2(Bucket=system.bucket)["Contents"] if each["Size"] == LARGE]
    assert s3.get_object(Bucket=system.bucket, Key=key)["Body"].read() == file.read_bytes()
    assert not _unfinished(system)


def _unfinished(system: System) -> list[Item]:
    found: list[Item] = system.stack.client("s3").list_multipart_uploads(Bucket=system.bucket).get("Uploads", [])
    return [each for each in found if each["Key"].endswith("-large.png")]


def arrived(system: System) -> list[Item]:
    """The parts of the upload that is under way. Other tests leave uploads of other files."""
    s3 = system.stack.client("s3")
    uploads = _unfinished(system)
    assert len(uploads) < 2
    for each in uploads:
        parts: list[Item] = s3.list_parts(Bucket=system.bucket, Key=each["Key"], UploadId=each["UploadId"]).get(
            "Parts", []
        )
        return parts
    return []


def test_a_running_job_is_cancelled(system: System, switchyard: Command, tmp_path: Path) -> None:
    [sent] = switchyard.items("upload", str(plan(tmp_path / "a.mp4", gate=True)))
    key = sent["key"]
    system.wait_for(key, "RUNNING")
    assert switchyard("ls", "--status", "RUNNING").split("\t")[0] == sent["jobId"]
    switchyard("cancel", given=f"{sent['jobId']} and words\n")
    switchyard("follow", sent["jobId"], code=4)


def test_what_is_refused_is_an_error_that_says_what_to_do(switchyard: Command, tmp_path: Path) -> None:
    assert "NOT_FOUND" in switchyard("show", "nobody", code=1)
    assert "neither a video nor a picture" in switchyard("upload", str(plan(tmp_path / "notes.txt")), code=1)
    assert "URL_NOT_ALLOWED" in switchyard("record", "http://user:password@127.0.0.1/a.m3u8", code=1)


def test_webhooks_are_managed(switchyard: Command) -> None:
    [hook] = switchyard.items("webhooks", "create", "https://127.0.0.1:9/hook")  # allowed here
    try:
        assert hook["secret"].startswith("whsec_")
        assert hook["webhookId"] in {each["webhookId"] for each in switchyard.items("webhooks", "ls")}
        [rotated] = switchyard.items("webhooks", "rotate", hook["webhookId"])
        assert rotated["secret"] != hook["secret"]
    finally:
        switchyard("webhooks", "delete", hook["webhookId"])
    switchyard("webhooks", "show", hook["webhookId"], code=1)


def test_the_doctor_finds_the_system_well_and_says_what_is_not(system: System, switchyard: Command) -> None:
    found = {each["check"]: each for each in switchyard.items("doctor", code=1)}
    wrong = {name for name, each in found.items() if each["ok"] is False}
    assert wrong <= {"alarm subscription"}, found  # nobody subscribes here
    system.stack.client("sqs").send_message(QueueUrl=system.stack.resource("TrackDeadLetterQueue"), MessageBody="{}")
    found = {each["check"]: each for each in switchyard.items("doctor", code=1)}
    assert (found["dead letters"]["detail"], found["dead letters"]["ok"]) == ("track: 1", False)
    [letter] = switchyard.items("dead-letters", "track")
    assert letter["advice"]
    system.messages("TrackDeadLetterQueue")


def test_the_versions_are_told(switchyard: Command) -> None:
    [found] = switchyard.items("version")
    assert found["api"] == "1.0.0"


def test_a_smoke_test_leaves_nothing_behind(system: System, switchyard: Command, tmp_path: Path) -> None:
    file = plan(tmp_path / "smoke.mp4", seconds=0.1)
    said = switchyard("--json", "upload", str(file), "--follow")
    erased = switchyard.items("cancel", "--erase", "--erase-upload", "--yes", "-", given=said)
    sent = json.loads(said.splitlines()[0])
    assert [(each["jobId"], each["erased"]) for each in erased] == [(sent["jobId"], True)]
    keys = {each["Key"] for each in system.stack.client("s3").list_objects_v2(Bucket=system.bucket).get("Contents", ())}
    assert sent["key"] not in keys


def test_the_dashboard_is_deployed(system: System) -> None:
    client = system.stack.client("cloudwatch")
    [entry] = client.list_dashboards()["DashboardEntries"]
    body = json.loads(client.get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"])
    assert "${" not in json.dumps(body)
    assert ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName"] in [
        metric[:3] for widget in body["widgets"] for metric in widget["properties"]["metrics"]
    ]
