"""Which index a function gets by its settings."""

from collections.abc import Iterator

import pytest

from switchyard import clients, wiring
from switchyard.outside.sites import Site
from switchyard.search.pinecone import PineconeIndex
from switchyard.search.s3vectors import S3VectorsIndex
from switchyard.settings import SearchSettings
from tests.fakes.pinecone import KEY, Pinecone, serving

PINECONE = {
    "SEARCH_INDEX": "pinecone",
    "SEARCH_INDEX_HOST": "index.svc.pinecone.io",
    "SEARCH_INDEX_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:index",
}


@pytest.fixture
def pinecone() -> Iterator[Pinecone]:
    with serving() as pinecone:
        yield pinecone


def test_none_has_no_index() -> None:
    assert wiring.search_index(SearchSettings.from_env({})) is None


def test_s3vectors_has_the_index_of_the_arn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "s3vectors", object)
    settings = SearchSettings.from_env({"SEARCH_INDEX": "s3vectors", "SEARCH_INDEX_ARN": "arn"})
    assert isinstance(wiring.search_index(settings), S3VectorsIndex)


def test_pinecone_reads_its_key_when_it_is_asked_and_again_when_it_is_rejected(
    monkeypatch: pytest.MonkeyPatch, pinecone: Pinecone
) -> None:
    read: list[str] = []

    def secret(arn: str) -> str:
        read.append(arn)
        return "old" if len(read) == 1 else f"{KEY}\n"

    monkeypatch.setattr(clients, "secret", secret)
    index = wiring.search_index(SearchSettings.from_env(PINECONE))
    assert isinstance(index, PineconeIndex)
    assert index._site._host == "index.svc.pinecone.io"
    assert read == []
    monkeypatch.setattr(index, "_site", Site(pinecone.url))
    index.erase("user:me", "job")
    assert read == [PINECONE["SEARCH_INDEX_KEY_SECRET_ARN"]] * 2
