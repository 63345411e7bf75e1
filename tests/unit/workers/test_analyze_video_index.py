"""The stage `index`: what a video's transcript says is found by search, in the real model's vectors.

A service gives the transcript, so that tests choose the words. S3 Vectors is its stand-in.
"""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from local.stack import STACK_NAME, VECTOR_INDEX
from local.workers import INDEX_ARN
from switchyard.search.chunks import owner_name
from switchyard.search.hits import Hit, read_hit, telling_words
from switchyard.search.ports import Question
from switchyard.search.s3vectors import S3VectorsIndex
from switchyard_embedding import DIMENSION, MODEL
from tests.contract.standin import StandIn
from tests.unit.search.models import embedder_of_tests, folder
from tests.unit.workers import standin
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.test_analyze_video import KEY, Account, Make, made  # noqa: F401 - a fixture
from tests.unit.workers.test_analyze_video_speech import serving, stages, talk  # noqa: F401 - a fixture

LANGUAGE: Final = {"language": "english", "task": "transcribe"}
BREAD: Final = "Knead the dough for ten minutes and let it rise in a warm place."
BOATS: Final = "The harbour pilot climbs aboard and steers the container ship to its berth."


@dataclass
class Library:
    """The worker's account, and the index that it writes."""

    account: Account
    vectors: StandIn
    arn: str

    def analyse(
        self, video: Path, *texts: str, exit_code: int = 0, meanwhile: Callable[[], object] = int, **changed: str
    ) -> Outcome:
        """Runs an attempt in which a service hears these sentences in each utterance.

        Args:
            video: The upload.
            texts: The sentences.
            exit_code: What the attempt must exit with.
            meanwhile: Called when the service is asked.
            changed: Further environment variables.
        """
        segments = [{"start": n * 0.1, "end": n * 0.1 + 0.1, "text": text} for n, text in enumerate(texts)]
        answer = json.dumps({**LANGUAGE, "text": " ".join(texts), "segments": segments}).encode()
        with serving((200, {}, answer)) as service:

            def told() -> tuple[int, dict[str, str], bytes]:
                meanwhile()
                return 200, {}, answer

            service.next = told  # type: ignore[method-assign]
            given = {"SPEECH_BACKEND": "openai", "SPEECH_URL": service.url, "ANALYSIS_STAGES": "scenes,speech,index"}
            given |= {"SEARCH_INDEX": "s3vectors", "SEARCH_INDEX_ARN": self.arn, "MODELS": str(folder().parent)}
            given |= {"AWS_ENDPOINT_URL_S3VECTORS": self.vectors.url, "OWNER": "ada"}
            outcome = self.account.run(video, **{**given, **changed})
        assert outcome.exit_code == exit_code, outcome.log
        return outcome

    def ask(self, question: str, owner: str | None = "ada") -> list[Hit]:
        """Searches as `POST /search` does."""
        (vector,) = embedder_of_tests().embed([question]).tolist()
        asked = Question(vector, telling_words(question), owner=owner_name(owner), limit=100)
        matches = S3VectorsIndex(self.client(), self.arn).find(asked)
        return [hit for match in matches if (hit := read_hit(match, question))]

    def keys(self) -> list[str]:
        """Returns the keys of all chunks."""
        return sorted(each["key"] for each in self.client().list_vectors(indexArn=self.arn)["vectors"])

    def client(self) -> Any:  # noqa: ANN401 - its stubs are not installed
        """Returns a client of the stand-in for S3 Vectors."""
        return boto3.client(
            "s3vectors",
            endpoint_url=self.vectors.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    vectors = StandIn(tmp_path_factory.mktemp("vectors")).start()
    try:
        with standin.listening() as stand_in, Account(stand_in).forking() as account:
            yield Library(account, vectors, INDEX_ARN)
    finally:
        vectors.end()


@pytest.fixture
def library(running: Library) -> Iterator[Library]:
    """Returns a library whose index is new."""
    client, bucket = running.client(), f"{STACK_NAME}-search"
    client.create_vector_bucket(vectorBucketName=bucket)
    created = client.create_index(vectorBucketName=bucket, **VECTOR_INDEX)["indexArn"]
    assert created == INDEX_ARN, "local workers write into another index"
    yield running
    client.delete_index(indexArn=created)
    client.delete_vector_bucket(vectorBucketName=bucket)


def long(text: str) -> list[str]:
    """So many words that each utterance is a chunk at least."""
    return [text] * 15


def test_the_index_is_that_of_the_model() -> None:
    assert f"{MODEL}-{DIMENSION}" == INDEX_ARN.rpartition("/")[2]


def test_what_is_said_is_found_with_its_second_its_picture_and_its_video(library: Library, talk: Path) -> None:  # noqa: F811
    outcome = library.analyse(talk, BREAD, BOATS, KIND="video-analysis")
    assert outcome.item["result"]["stages"]["index"] == "done"
    assert library.account.summary()["index"]["chunks"] == len(library.keys()) > 0
    best = library.ask("how long do I work the bread")[0]
    assert "dough" in best.text
    assert (best.owner, best.job_id, best.kind, best.video) == ("ada", "job-1", "video-analysis", KEY)
    spoken = json.loads(library.account.result("transcript.json")[1])["segments"]
    assert best.start == pytest.approx(spoken[0]["start"], abs=0.1)
    assert best.frame.removeprefix("results/job-1/") in library.account.results()
    given = {"indexArn": library.arn, "keys": library.keys()[:1], "returnMetadata": True}
    (vector,) = library.client().get_vectors(**given)["vectors"]
    accepted = datetime(2026, 11, 22, 18, 36, 54, 123_000, UTC)  # as `Account.record` says
    assert vector["metadata"]["date"] == pytest.approx(accepted.timestamp())


def test_chunks_are_their_owners(library: Library, talk: Path) -> None:  # noqa: F811
    library.analyse(talk, BREAD)
    assert library.ask("dough")
    assert library.ask("dough", owner="eve") == library.ask("dough", owner=None) == []


@pytest.mark.parametrize("owner", [None, "a name/that no key can have"])
def test_chunks_get_the_name_by_which_they_are_erased(library: Library, talk: Path, owner: str | None) -> None:  # noqa: F811
    library.analyse(talk, BREAD, OWNER=owner or "")
    assert [hit.owner for hit in library.ask("dough", owner=owner)][:1] == [owner]
    S3VectorsIndex(library.client(), library.arn).erase(owner_name(owner), "job-1")
    assert library.keys() == []


def test_another_analysis_replaces_the_first(library: Library, talk: Path) -> None:  # noqa: F811
    library.analyse(talk, *long(BREAD))
    first = library.keys()
    library.analyse(talk, *long(BREAD))
    assert library.keys() == first
    library.analyse(talk, BOATS)
    assert 0 < len(library.keys()) < len(first)
    assert library.ask("dough")[0].text.count("dough") == 0


def test_a_video_without_words_takes_the_place_of_one_with(library: Library, talk: Path, made: Make) -> None:  # noqa: F811
    library.analyse(talk, BREAD)
    assert library.keys()
    library.analyse(made("silence", ".mkv"))
    assert stages(library.account)["index"]["reason"] == "there is no text"
    assert library.keys() == []


def test_without_an_index_it_is_skipped(library: Library, talk: Path) -> None:  # noqa: F811
    library.analyse(talk, BREAD, SEARCH_INDEX="none")
    assert stages(library.account)["index"]["reason"] == "there is no search index"
    assert library.keys() == []


def test_without_its_model_it_is_skipped(library: Library, talk: Path, tmp_path: Path) -> None:  # noqa: F811
    library.analyse(talk, BREAD, MODELS=str(tmp_path))
    assert stages(library.account)["index"]["reason"] == "the model minilm isn't installed (make models)"


def test_a_service_that_is_down_fails_the_stage_alone(library: Library, talk: Path) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome = library.analyse(talk, BREAD, AWS_ENDPOINT_URL_S3VECTORS=f"http://127.0.0.1:{port}")
    failed = stages(library.account)["index"]
    assert (failed["state"], failed["error"]["code"]) == ("failed", "INDEX_UNAVAILABLE")
    assert str(port) not in json.dumps(library.account.summary()), "the error's text is the log's"
    assert outcome.item["result"]["stages"]["speech"] == "done"
    assert "transcript.json" in library.account.results()


def test_an_index_that_refuses_fails_the_stage_alone(library: Library, talk: Path) -> None:  # noqa: F811
    library.analyse(talk, BREAD, SEARCH_INDEX_ARN=f"{library.arn}-gone")
    assert stages(library.account)["index"]["error"]["code"] == "INDEX_UNAVAILABLE"


def test_a_pinecone_that_is_not_there_fails_the_stage_alone(library: Library, talk: Path) -> None:  # noqa: F811
    outcome = library.analyse(
        talk,
        BREAD,
        SEARCH_INDEX="pinecone",
        SEARCH_INDEX_HOST="index.svc.invalid",
        SEARCH_INDEX_KEY="pcsk_never_shown",
    )
    assert stages(library.account)["index"]["error"]["code"] == "INDEX_UNAVAILABLE"
    assert "never_shown" not in json.dumps([outcome.log, outcome.item, library.account.summary()], default=str)


def test_a_run_that_lost_its_job_writes_no_chunk(library: Library, talk: Path) -> None:  # noqa: F811
    """Another run claims the job, and no heartbeat has told this one yet."""

    def claim() -> None:
        library.account.claim(2)

    library.analyse(talk, BREAD, exit_code=77, meanwhile=claim)
    assert library.keys() == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"SEARCH_INDEX": "opensearch"}, "SEARCH_INDEX is 'opensearch'"),
        ({"SEARCH_INDEX": "pinecone", "SEARCH_INDEX_KEY": "k"}, "needs SEARCH_INDEX_HOST"),
        ({"SEARCH_INDEX": "pinecone", "SEARCH_INDEX_HOST": "10.0.0.1:80", "SEARCH_INDEX_KEY": "k"}, "a host name"),
        ({"SEARCH_INDEX_ARN": ""}, "SEARCH_INDEX_ARN is missing"),
    ],
)
def test_a_bad_setting_is_named(library: Library, talk: Path, changed: dict[str, str], told: str) -> None:  # noqa: F811
    outcome = library.account.run(talk, **({"SEARCH_INDEX": "s3vectors", "SEARCH_INDEX_ARN": "arn"} | changed))
    assert (outcome.exit_code, outcome.error[0]) == (65, "BAD_ENVIRONMENT")
    assert told in outcome.error[1]
