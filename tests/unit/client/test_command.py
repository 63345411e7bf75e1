"""The command `switchyard`: what it prints for people, pipes and programs, and how it ends."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from local.environment import ROOT
from switchyard_client import AsyncSwitchyard, Retries, discovery, following
from switchyard_client.command import main
from switchyard_client.command.session import Session
from switchyard_client.discovery import Context
from switchyard_client.errors import SetupError
from tests.cases import cases
from tests.fakes.switchyard_api import KEY, Deployment, deployment

type Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keeps tests from this machine's contexts, journal and variables."""
    monkeypatch.setattr(following, "FIRST", 0.001)
    monkeypatch.setattr(following, "SLOWEST", 0.002)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in [each for each in os.environ if each.startswith("SWITCHYARD_")]:
        monkeypatch.delenv(name)


class Api:
    """Answers by route, the last answer again and again; keeps what was asked."""

    def __init__(self, **answers: Any) -> None:  # noqa: ANN401 - JSON
        self.answers = {name: deque(each if isinstance(each, list) else [each]) for name, each in answers.items()}
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        body = json.loads(request.content) if request.content else dict(request.url.params)
        self.asked.append((request.method, path, body))
        answers = self.answers[f"{request.method} {path}"]
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command against an `Api`."""

    def call(api: Api, *words: str, input: str | None = None) -> Result:  # noqa: A002 - CliRunner's
        transport = httpx.MockTransport(api)
        retries = Retries(attempts=2, base=0)
        monkeypatch.setattr(
            Session,
            "client",
            lambda _: AsyncSwitchyard("https://a.example/v1", "k", transport=transport, retries=retries),
        )
        return CliRunner().invoke(main, ["--local", *words], input=input)

    return call


def job(job_id: str = "a", status: str = "COMPLETED", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "jobId": job_id,
        "status": status,
        "kind": "torrent",
        "createdAt": "2026-11-22T19:40:02.000Z",
        "updatedAt": "x",
        **more,
    }


def refused(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"error": code, "message": "No.", "details": [], "requestId": "r"})


FAILURE = {"code": "EXIT\x1b[2J_CODE", "message": "it \x1b[2Jbroke"}


@cases(
    ("last", "code"),
    [(job(), 0), (job(status="FAILED", error=FAILURE), 3), (job(status="CANCELLED"), 4)],
)
def test_the_exit_code_says_how_a_job_ended(run: Run, last: dict[str, Any], code: int) -> None:
    result = run(Api(**{"GET /jobs/a": [job(status="RUNNING"), last]}), "follow", "a")
    assert result.exit_code == code
    assert last["status"] in result.output.splitlines()[-1]
    assert "\x1b" not in result.output


def test_a_job_that_takes_too_long_is_told_from_a_failed_one(run: Run) -> None:
    result = run(Api(**{"GET /jobs/a": job(status="RUNNING")}), "follow", "a", "--timeout", "0.01")
    assert (result.exit_code, "it goes on" in result.output) == (5, True)


def test_of_several_jobs_the_worst_end_counts(run: Run) -> None:
    api = Api(**{"GET /jobs/a": job(), "GET /jobs/b": job("b", "CANCELLED"), "GET /jobs/c": job("c", "FAILED")})
    assert run(api, "follow", "a", "b", "c").exit_code == 3


def test_results_are_fetched_to_their_folder_whatever_their_names(run: Run, tmp_path: Path) -> None:
    links = {"summary.md": "https://s3.example/s", "frames/1.jpg": "https://s3.example/f"}
    api = Api(
        **{
            "GET /jobs/a": job(links=links),
            "GET /s": httpx.Response(200, text="said"),
            "GET /f": httpx.Response(200, text="seen"),
        }
    )
    result = run(api, "results", "a", "--to", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert (tmp_path / "out" / "a" / "summary.md").read_text() == "said"
    assert (tmp_path / "out" / "a" / "frames" / "1.jpg").read_text() == "seen"


@cases("name", ["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil", ""])
def test_a_result_never_leaves_its_folder(name: str) -> None:
    from switchyard_client.errors import SwitchyardError  # noqa: PLC0415
    from switchyard_client.results import safe  # noqa: PLC0415

    with pytest.raises(SwitchyardError):
        safe(name)


def test_a_link_that_has_expired_is_asked_for_again(run: Run, tmp_path: Path) -> None:
    api = Api(
        **{
            "GET /jobs/a": [
                job(links={"a.md": "https://s3.example/old"}),
                job(links={"a.md": "https://s3.example/new"}),
            ],
            "GET /old": httpx.Response(403, text="<Code>AccessDenied</Code>"),
            "GET /new": httpx.Response(200, text="whole"),
        }
    )
    assert run(api, "results", "a", "--to", str(tmp_path)).exit_code == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["a.md"]


# ---- for pipes and programs ------------------------------------------------------------------------------------------


def test_a_list_in_a_pipe_begins_with_the_ids_and_another_command_reads_them(run: Run) -> None:
    api = Api(**{"GET /jobs": {"jobs": [job("a", "FAILED"), job("b", "FAILED")]}})
    listed = run(api, "ls", "--status", "failed", "--since", "2026-11-22T00:00:00Z")
    assert [line.split("\t")[0] for line in listed.output.splitlines()] == ["a", "b"]
    assert api.asked[0][2] == {"status": "FAILED", "limit": "100", "from": "2026-11-22T00:00:00Z"}
    api = Api(**{f"POST /jobs/{name}/rerun": {"jobId": f"{name}2", "status": "PENDING"} for name in "ab"})
    result = run(api, "rerun", input=listed.output)
    assert (result.exit_code, sorted(result.output.split())) == (0, ["PENDING", "PENDING", "a2", "b2"])


def test_json_is_one_object_a_line_wherever_the_option_stands(run: Run) -> None:
    api = Api(**{"GET /jobs": {"jobs": [job("a"), job("b")]}})
    first, second = (run(api, *words).output for words in (["--json", "ls"], ["ls", "--json"]))
    assert first == second
    assert [json.loads(line)["jobId"] for line in first.splitlines()] == ["a", "b"]
    assert run(Api(**{"GET /jobs/a": job(), "GET /jobs/b": job("b")}), "show", "-", input=first).exit_code == 0


def test_many_ids_go_in_bulk_and_each_has_its_answer(run: Run) -> None:
    ids = [f"job-{number}" for number in range(150)]
    answers = [{"status": 202, "body": job(each, "CANCELLED")} for each in ids]
    answers[120] = {"status": 409, "body": {"error": "ALREADY_ENDED", "message": "No."}}
    api = Api(**{"POST /jobs/bulk": [{"responses": answers[:100]}, {"responses": answers[100:]}]})
    result = run(api, "cancel", *ids)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 150)
    assert "job-120: ALREADY_ENDED" in result.output
    assert [len(body["requests"]) for _, _, body in api.asked] == [100, 50]


def test_what_fails_for_one_leaves_the_others_done(run: Run) -> None:
    api = Api(**{"DELETE /jobs/a": refused(404, "NOT_FOUND"), "DELETE /jobs/b": job("b", "CANCELLED")})
    result = run(api, "cancel", "a", "b")
    assert (result.exit_code, "b  CANCELLED" in result.output, "NOT_FOUND" in result.output) == (1, True, True)


def test_erasing_asks_first(run: Run) -> None:
    api = Api(**{"DELETE /jobs/a": job("a") | {"erased": True}})
    assert (run(api, "cancel", "--erase", "a", input="n\n").exit_code, api.asked) == (1, [])
    assert run(api, "cancel", "--erase", "--yes", "a").exit_code == 0
    assert api.asked == [("DELETE", "/jobs/a", {"data": "true"})]


@cases(
    "words",
    [
        ["ls", "--since", "yesterday"],
        ["upload", "missing.mp4"],
        ["cancel", "--erase-upload", "a"],
        ["redrive", "videos"],
        ["--stack", "a", "ls"],
        ["nonsense"],
    ],
)
def test_what_is_said_wrongly_is_a_usage_error(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["--local", *words])
    assert result.exit_code == 2, result.output


def test_a_submission_prints_its_job_and_an_error_says_what_to_do(run: Run) -> None:
    api = Api(**{"POST /jobs": job(status="PENDING")})
    assert run(api, "record", "https://live.example/a", "--priority", "5").output == "job a\n"
    assert api.asked[0][2] == {"url": "https://live.example/a", "priority": 5}
    failed = run(Api(**{"POST /torrents": refused(501, "NOT_CONFIGURED")}), "share", "recordings/a.mp4")
    assert (failed.exit_code, "configuration.md" in failed.output) == (1, True)


def test_imports_report_each_account(run: Run) -> None:
    answers = [
        {"success": True, "jobId": "steam-1", "status": "PENDING", "message": ""},
        {"success": False, "error": "INVALID_STEAM_ID", "message": "", "details": ["no"]},
    ]
    result = run(Api(**{"POST /imports/steam": {"imports": answers}}), "import-steam", "--user", "u", "1", "2")
    assert result.exit_code == 1
    assert result.output.splitlines() == ["steam-1  PENDING  1", "2 is refused: INVALID_STEAM_ID no"]


def test_logs_are_read_to_the_end_of_the_job(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchyard_client.command.see._LOG_EVERY", 0)
    pages = [
        {"lines": [{"time": "t1", "message": "one"}], "cursor": "c"},
        {"lines": [], "cursor": None},
        {"lines": [{"time": "t2", "message": "two\x1b"}], "cursor": None},
    ]
    api = Api(**{"GET /jobs/a": [job(status="RUNNING"), job()], "GET /jobs/a/logs": pages})
    assert run(api, "logs", "-f", "a").output.splitlines() == ["t1  one", "t2  two?"]


def test_search_shows_moments(run: Run) -> None:
    hit = {"jobId": "a", "at": 3723.4, "score": 0.5, "text": "we postpone", "speaker": "S1"}
    api = Api(**{"POST /search": {"hits": [hit], "noAnswer": "NOT_FOUND"}})
    result = run(api, "search", "when?", "--answer")
    assert result.output.splitlines() == ["no answer: NOT_FOUND", "a\t1:02:03\tS1\t0.50\twe postpone"]


def test_lanes_are_shown_paused_and_resumed(run: Run) -> None:
    lane = {
        "name": "video",
        "limit": 1,
        "taken": 1,
        "waiting": 2,
        "oldestWaitingSince": None,
        "paused": {"until": None, "reason": "OPERATOR"},
    }
    api = Api(**{"GET /lanes": {"lanes": [lane]}, "POST /lanes/video/pause": lane, "POST /lanes/video/resume": lane})
    assert run(api, "lanes").output.split() == ["video", "1", "1", "2", "OPERATOR"]
    assert run(api, "pause", "video").exit_code == run(api, "resume", "video").exit_code == 0


def test_webhooks_are_made_and_listed(run: Run) -> None:
    hook = {"webhookId": "wh_1", "url": "https://a.example", "eventTypes": ["job.failed"], "createdAt": "t"}
    api = Api(
        **{
            "POST /webhooks": hook | {"secret": "s"},
            "GET /webhooks": {"webhooks": [hook]},
            "DELETE /webhooks/wh_1": httpx.Response(204),
        }
    )
    assert "secret  s" in run(api, "webhooks", "create", "https://a.example", "--event", "job.failed").output
    assert run(api, "webhooks", "ls").output.split() == ["wh_1", "https://a.example", "job.failed", "enabled"]
    assert run(api, "webhooks", "delete", "wh_1").exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_shells(shell: str) -> None:
    result = CliRunner().invoke(main, ["--local", "completion", shell])
    assert "_SWITCHYARD_COMPLETE" in result.output


# ---- uploads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    with deployment() as world:
        monkeypatch.setenv("SWITCHYARD_API_KEY", KEY)
        yield world


def test_folders_and_patterns_are_uploaded_and_followed(world: Deployment, tmp_path: Path) -> None:
    for name in ("in/a.mp4", "in/deep/b.MKV", "in/notes.txt", "c1.mp4", "c2.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    words = ["--url", world.url, "upload", str(tmp_path / "in"), str(tmp_path / "c*.mp4"), "--follow"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert sorted(world.objects.values()) == [b"c1.mp4", b"c2.mp4", b"in/a.mp4", b"in/deep/b.MKV"]
    assert result.output.count("COMPLETED") == 4


def test_the_same_command_after_success_uploads_again_and_after_a_failure_only_the_rest(
    world: Deployment, tmp_path: Path
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_text(name)
    words = ["--url", world.url, "--json", "upload", str(tmp_path), "--parallel", "1"]
    world.faults["PUT"] = deque(["slow", "400"])
    failed = CliRunner().invoke(main, words)
    assert (failed.exit_code, len(world.objects)) == (1, 2)
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, len(world.objects), len(result.output.splitlines())) == (0, 3, 3)
    CliRunner().invoke(main, words)
    assert len(world.objects) == 6


def test_pictures_are_uploaded_and_looked_at_as_one_job(world: Deployment, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_text(name)
    result = CliRunner().invoke(main, ["--url", world.url, "look", str(tmp_path), "--follow"])
    assert (result.exit_code, "COMPLETED" in result.output) == (0, True)
    keys = [f"s3://bucket/{key}" for key, content in world.objects.items() if content in {b"a", b"b"}]
    assert sorted(json.loads(world.objects["job"])) == sorted(keys)


def test_an_interrupted_upload_ends_at_once_and_goes_on_later(world: Deployment, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(2**16 * 260))
    world.pause = 0.1
    command = [sys.executable, "-m", "switchyard_client", "--url", world.url, "upload", str(film), "--parallel", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (world.uploads and next(iter(world.uploads.values())).parts):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, "interrupted" in said, "Traceback" in said) == (130, True, False)
    world.pause, before = 0, world.asked["PUT"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "(resumed)" in ended.stdout
    assert list(world.objects.values()) == [film.read_bytes()]
    assert world.asked["PUT"] < 260 + before + 2


# ---- which deployment ------------------------------------------------------------------------------------------------


def test_a_context_names_a_deployment(tmp_path: Path) -> None:
    file = tmp_path / "contexts.toml"
    file.write_text(
        'default = "dev"\n[dev]\nstack = "s"\nregion = "eu-central-1"\n[here]\nlocal = true\n[bad]\nstak = 1\n'
    )
    assert discovery.context(None, file) == Context(stack="s", region="eu-central-1")
    assert discovery.context("here", file) == Context(local=True)
    for name, said in [("there", "it has bad, dev, here"), ("bad", "unknown setting 'stak'")]:
        with pytest.raises(SetupError, match=said):
            discovery.context(name, file)
    assert discovery.context(None, tmp_path / "none.toml") == Context()


def test_without_a_deployment_the_command_says_how_to_name_one() -> None:
    result = CliRunner().invoke(main, ["ls"])
    assert (result.exit_code, "--stack NAME or --local" in result.output) == (1, True)


class Aws:
    """CloudFormation and API Gateway, with a stack of this way in."""

    def __init__(self, auth: str) -> None:
        self.auth = auth

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        outputs = {"ApiUrl": "https://a.example/v1/"} | ({"ApiKeyId": "k-1"} if self.auth == "api-key" else {})
        return {
            "Stacks": [
                {
                    "StackId": f"arn:aws:cloudformation:eu-west-1:1:stack/{StackName}/1",
                    "Outputs": [{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()],
                    "Parameters": [{"ParameterKey": "ApiAuth", "ParameterValue": self.auth}],
                }
            ]
        }

    def get_api_key(self, apiKey: str, includeValue: bool) -> dict[str, str]:  # noqa: FBT001, N803 - boto3's
        return {"value": f"{apiKey}-{includeValue}"}


@cases(("auth", "kind"), [("api-key", "ApiKey"), ("iam", "Iam"), ("cognito", "Token")])
def test_a_stacks_way_in_is_found_out(auth: str, kind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery.Aws, "client", lambda *_: Aws(auth))
        if auth == "cognito":
            with pytest.raises(SetupError, match="SWITCHYARD_TOKEN"):
                discovery.stack("s")
            patch.setenv("SWITCHYARD_TOKEN", "t")
        url, found = discovery.stack("s")
    assert (url, type(found).__name__) == ("https://a.example/v1/", kind)


def test_the_local_system_is_found_from_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    state = {"emulator": {"port": 1}, "compute": {"port": 2}, "resources": {"Api": "x"}, "api_key": "k"}
    (tmp_path / ".local" / "state.json").write_text(json.dumps(state))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    url, _ = discovery.local(tmp_path / "deep" / "er")
    assert url == "http://127.0.0.1:1/_aws/execute-api/x/v1"
    (tmp_path / ".local" / "state.json").write_text(json.dumps(state | {"emulator": None}))
    with pytest.raises(SetupError, match="make up"):
        discovery.local(tmp_path)


def test_open_says_why_there_is_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery.Aws, "outputs", lambda _: {})
    result = CliRunner().invoke(main, ["--stack", "s", "open"])
    assert (result.exit_code, "Console=true" in result.output) == (1, True)
    monkeypatch.setattr(discovery.Aws, "outputs", lambda _: {"ConsoleUrl": "https://c.example"})
    assert CliRunner().invoke(main, ["--stack", "s", "open"]).output == "https://c.example\n"


# ---- the pages -------------------------------------------------------------------------------------------------------

PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "client" / "README.md"]
SAID = [
    (page.name, command.strip())
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    for command in re.split(r"\||&&|>", line.partition("#")[0])
    if command.strip().startswith("switchyard ")
]


@cases(("page", "command"), SAID)
def test_commands_in_the_pages_are_understood(page: str, command: str) -> None:
    words = shlex.split(command.replace("$STACK", "a-stack"))[1:]
    group = main.make_context("switchyard", words)
    name, found, rest = main.resolve_command(group, [*group._protected_args, *group.args])
    assert found is not None
    assert found.make_context(name, rest, parent=group).command is found


def test_the_page_names_every_command() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    assert [name for name in main.commands if not re.search(rf"`(?:switchyard )?{name}\b", page)] == []
