"""Sends work as clients do: videos to S3, image jobs and uploads over the API, with a good client's retries."""

import heapq
import itertools
import json
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote_plus

import httpx

from local import api
from tests.chaos.work import Work
from tests.chaos.world import World

CLIENTS: Final = 12
TRIES: Final = 10
"""A client's tries before it gives up."""
REPEATED: Final = 0.08
"""The share of uploads that S3 announces twice, and of jobs that are submitted twice."""
CANCELLED: Final = 0.08
RENEWED: Final = 0.06
"""The share of videos that are uploaded again under their key."""
LOOKED_AT: Final = 0.15
IN_PARTS: Final = 0.03
PRESIGNED: Final = 0.05

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

type Action = Callable[[], None]


class GaveUpError(Exception):
    """A client gave up after all its tries without a usable answer."""


class Traffic:
    """Sends work from several concurrent clients.

    Attributes:
        accepted: The accepted work, in order.
        tally: Counts of what clients did, and of the answers they got.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self._s3 = world.stack.client("s3")
        self._http = httpx.Client(
            base_url=api.address(world.stack),
            headers={"x-api-key": api.key(world.stack)},
            # trust_env off: a proxy of the user's can't reach this machine's loopback address.
            trust_env=False,
            timeout=35,
            limits=httpx.Limits(max_connections=CLIENTS),
        )
        self._due: list[tuple[float, int, Action]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._under_way = 0
        self._stopped = False
        self.accepted: list[Work] = []
        self.tally: Counter[str] = Counter()
        self.failures: list[str] = []

    # ---- schedule ----------------------------------------------------------------------------------------------------

    def plan(self, *, videos: int, jobs: int, torrents: int, rate: float) -> None:
        """Schedules these uploads and jobs, mixed, `rate` per second."""
        actions: list[Action] = [self._video] * videos + [self._job] * jobs + [self._torrent] * torrents
        self._dice.shuffle(actions)
        now = time.monotonic()
        for number, action in enumerate(actions):
            self._later(now + number / rate, action)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Sends what is due until the block ends."""
        clients = [threading.Thread(target=self._be_a_client, daemon=True) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for client in clients:
                client.join()
            self._http.close()

    @property
    def over(self) -> bool:
        """Returns whether everything was sent."""
        with self._changed:
            return not self._due and not self._under_way

    def _later(self, when: float, action: Action) -> None:
        with self._changed:
            heapq.heappush(self._due, (when, next(self._number), action))
            self._changed.notify()

    def _soon(self, most: float, action: Action) -> None:
        self._later(time.monotonic() + self._dice.uniform(0, most), action)

    def _be_a_client(self) -> None:
        while action := self._next():
            try:
                action()
            except GaveUpError:
                self.tally["given up by the client"] += 1
            except Exception as error:  # noqa: BLE001 - reported: if a client died, its work would be missing
                self.failures.append(f"{type(error).__name__}: {error}")
            with self._changed:
                self._under_way -= 1

    def _next(self) -> Action | None:
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._under_way += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None

    # ---- videos ------------------------------------------------------------------------------------------------------

    def _video(self) -> None:
        luck = self._dice.random()
        if luck < IN_PARTS:
            self._upload_in_parts()
        elif luck < IN_PARTS + PRESIGNED:
            self._upload_presigned()
        else:
            self._put(f"uploads/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}-clip.mp4")

    def _put(self, key: str) -> None:
        answer = self._s3.put_object(Bucket=self._world.bucket, Key=key, Body=b"a video", ContentType="video/mp4")
        self._arrived(key, answer["VersionId"])
        if self._dice.random() < RENEWED:
            self._soon(60, lambda: self._put(key))

    def _arrived(self, key: str, version: str) -> None:
        work = Work("video", _id_in(key), key, version)
        self.accepted.append(work)
        self.tally["videos uploaded"] += 1
        if self._dice.random() < REPEATED:
            self._soon(30, lambda: self._tell_again(work))
        if self._dice.random() < CANCELLED:
            self._soon(30, lambda: self._cancel(work))

    def _tell_again(self, work: Work) -> None:
        """Sends S3's message a second time, with the same content."""
        found = self._world.stack.client("dynamodb").get_item(
            TableName=self._world.stack.resource("JobsTable"), Key={"jobId": {"S": work.job_id}}
        )
        source = {name: value["S"] for name, value in found.get("Item", {}).get("source", {}).get("M", {}).items()}
        if source.get("version") != work.version:
            return  # the first message's content is unknown
        told = {"key": quote_plus(work.key, safe="/"), "versionId": work.version, "sequencer": source.get("sequencer")}
        record = {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventTime": source.get("writtenAt"),
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": self._world.bucket}, "object": told},
        }
        self._world.stack.client("sqs").send_message(
            QueueUrl=self._world.stack.resource("VideoQueue"), MessageBody=json.dumps({"Records": [record]})
        )
        self.tally["uploads announced twice"] += 1

    def _upload_presigned(self) -> None:
        body = {"filename": "clip.mp4", "contentType": "video/mp4", "size": 7}
        upload = self._ask("POST", "/uploads/presign", body).json()
        self._send(upload["url"], upload["headers"])
        self._look_whether_it_arrived(upload["key"])

    def _upload_in_parts(self) -> None:
        begun = self._ask(
            "POST", "/uploads/multipart", {"filename": "clip.mp4", "contentType": "video/mp4", "size": 7}
        ).json()
        upload = {"key": begun["key"], "uploadId": begun["uploadId"]}
        if self._dice.random() < 0.25:
            self._ask("DELETE", "/uploads/multipart", params=upload, enough={200, 204, 404})
            self.tally["multipart uploads aborted"] += 1
            return
        parts = self._ask("POST", "/uploads/multipart/parts", {**upload, "parts": [{"partNumber": 1, "size": 7}]})
        etag = self._send(parts.json()["parts"][0]["url"], {}).headers["etag"]
        self._ask("GET", "/uploads/multipart", params=upload)
        whole = {**upload, "size": 7, "parts": [{"partNumber": 1, "etag": etag}]}
        # 404: an earlier try may have completed it and lost its answer.
        self._ask("POST", "/uploads/multipart/complete", whole, enough={404})
        self.tally["multipart uploads"] += 1
        self._look_whether_it_arrived(begun["key"])

    def _send(self, url: str, headers: dict[str, str]) -> httpx.Response:
        answer = httpx.put(url, content=b"a video", headers=headers, trust_env=False, timeout=30)
        answer.raise_for_status()
        return answer

    def _look_whether_it_arrived(self, key: str) -> None:
        try:
            found = self._s3.head_object(Bucket=self._world.bucket, Key=key)
        except self._s3.exceptions.ClientError:
            return
        self._arrived(key, found["VersionId"])

    # ---- jobs --------------------------------------------------------------------------------------------------------

    def _job(self) -> None:
        key = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
        body = {"imageUrls": [f"s3://{self._world.bucket}/quiet/{key}.jpg"], "userId": "chaos"}
        headers = {"Idempotency-Key": key}
        job_id = self._ask("POST", "/process", body, headers=headers).json()["jobId"]
        work = Work("image", job_id, "", job_id)
        self.accepted.append(work)
        self.tally["jobs accepted"] += 1
        if self._dice.random() < REPEATED:
            self._soon(30, lambda: self._submit_again(work, body, headers))
        if self._dice.random() < CANCELLED:
            self._soon(30, lambda: self._cancel(work))
        if self._dice.random() < LOOKED_AT:
            self._soon(10, lambda: self._look(work))

    def _submit_again(self, work: Work, body: dict[str, Any], headers: dict[str, str]) -> None:
        again = self._ask("POST", "/process", body, headers=headers).json()
        self.tally["jobs submitted twice"] += 1
        if again["jobId"] != work.job_id:
            self.failures.append(f"the same Idempotency-Key gave {work.job_id}, then {again['jobId']}")

    def _look(self, work: Work) -> None:
        self._ask("GET", f"/jobs/{work.job_id}")
        self._ask("GET", "/jobs", params={"status": self._dice.choice(["COMPLETED", "RUNNING", "WAITING"])})
        self.tally["jobs looked at"] += 1

    def _cancel(self, work: Work) -> None:
        work.cancels.append(0)
        # 404: the upload was not announced yet. 409: the job has ended.
        answer = self._ask("DELETE", f"/jobs/{work.job_id}", enough={404, 409})
        work.cancels.append(answer.status_code)
        self.tally[f"cancels answered with {answer.status_code}"] += 1

    # ---- torrents ----------------------------------------------------------------------------------------------------

    def _torrent(self) -> None:
        key = f"recordings/{uuid.UUID(int=self._dice.getrandbits(128), version=4)}/clip.mkv"
        answer = self._s3.put_object(Bucket=self._world.bucket, Key=key, Body=self._dice.randbytes(100_000))
        self.accepted.append(Work("torrent", "", key, answer["VersionId"]))
        self.tally["objects for torrents uploaded"] += 1

    # ---- calls -------------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        enough: set[int] | frozenset[int] = frozenset(),
        **more: Any,  # noqa: ANN401 - httpx's own
    ) -> httpx.Response:
        """Repeats a request until the answer is 2xx or one of `enough`.

        Raises:
            GaveUpError: after all of a client's tries.
        """
        for attempt in range(TRIES):
            if attempt:
                self.tally["requests repeated"] += 1
                time.sleep(random.uniform(0, min(5.0, 0.2 * 2**attempt)))  # noqa: S311 - jitter
            try:
                answer = self._http.request(method, path, json=body, **more)
            except httpx.TransportError:
                continue
            if answer.is_success or answer.status_code in enough:
                return answer
            if answer.status_code < 500 and answer.status_code != 429:
                raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        raise GaveUpError(f"{method} {path}")


def _id_in(key: str) -> str:
    """Returns the video id that the template's default pattern finds in a key."""
    found = _UUID.search(key)
    return found[0] if found else ""
