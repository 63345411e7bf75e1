"""The API's responses. Written by tools/shapes.py from openapi.json: don't edit."""

from typing import Any, Literal, NotRequired, TypedDict


class PresignedUpload(TypedDict):
    url: str
    key: str
    bucket: str
    method: Literal["PUT", "POST"]
    headers: dict[str, str]
    fields: NotRequired[dict[str, str]]
    expiresIn: int
    jobId: NotRequired[str]


class MultipartUpload(TypedDict):
    uploadId: str
    key: str
    bucket: str
    partSize: int
    partCount: int
    jobId: NotRequired[str]


class MultipartPartsParts(TypedDict):
    partNumber: int
    url: str
    headers: dict[str, str]


class MultipartParts(TypedDict):
    parts: list["MultipartPartsParts"]
    expiresIn: int


class MultipartPartListParts(TypedDict):
    partNumber: int
    size: int
    etag: str
    checksumSha1: NotRequired[str]


class MultipartPartList(TypedDict):
    parts: list["MultipartPartListParts"]
    nextToken: NotRequired[str]


class CompletedUpload(TypedDict):
    key: str
    bucket: str
    size: int
    etag: str
    versionId: NotRequired[str]
    checksumSha1: NotRequired[str]


class ProcessAccepted(TypedDict):
    success: Literal[True]
    jobId: str
    status: Literal["PENDING"]
    message: str
    imageCount: int


class JobAccepted(TypedDict):
    success: Literal[True]
    jobId: str
    status: Literal["PENDING"]
    message: str


class RerunAccepted(TypedDict):
    success: Literal[True]
    jobId: str
    rerunOf: str
    status: Literal["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    message: str


class BulkAnswersResponses(TypedDict):
    status: int
    body: dict[str, Any]


class BulkAnswers(TypedDict):
    responses: list["BulkAnswersResponses"]


class TorrentAccepted(TypedDict):
    success: Literal[True]
    jobId: str
    status: Literal["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    message: str


class SteamImport(TypedDict):
    userId: NotRequired[str]
    steamId: str
    confirmRemovals: NotRequired[str]


class ImportAccepted(TypedDict):
    success: Literal[True]
    jobId: str
    status: Literal["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    message: str


class ImportRefused(TypedDict):
    success: Literal[False]
    error: str
    message: str
    details: list[str]


class ImportAnswers(TypedDict):
    imports: list["ImportAccepted | ImportRefused"]


class JobPastAttempts(TypedDict):
    code: str
    message: str
    endedAt: str


class JobChapters(TypedDict):
    start: float
    end: float
    title: str


class JobProgress(TypedDict):
    percent: NotRequired[int]
    message: NotRequired[str]


class Job(TypedDict):
    jobId: str
    kind: str
    status: Literal["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    blocked: NotRequired[Literal["capacity", "operator"]]
    blockedReason: NotRequired[str]
    ahead: NotRequired[int]
    priority: NotRequired[int]
    startAfter: NotRequired[str]
    pastAttempts: NotRequired[list["JobPastAttempts"]]
    imageCount: NotRequired[int]
    detections: NotRequired[list["ImageDetections"]]
    summary: NotRequired[str]
    chapters: NotRequired[list["JobChapters"]]
    progress: NotRequired["JobProgress"]
    error: NotRequired["JobError"]
    result: NotRequired[dict[str, Any]]
    links: NotRequired[dict[str, str]]
    sources: NotRequired[dict[str, str]]
    metadata: NotRequired[dict[str, Any]]
    userId: NotRequired[str]
    submittedBy: NotRequired[str]
    cancelledBy: NotRequired[str]
    rerunOf: NotRequired[str]
    createdAt: str
    updatedAt: str
    startedAt: NotRequired[str]
    endedAt: NotRequired[str]
    cancelRequested: NotRequired[Literal[True]]


class ImageDetectionsDetections(TypedDict):
    label: str
    confidence: float
    bbox: list[float]


class ImageDetections(TypedDict):
    imageUrl: str
    imageIndex: int
    detections: NotRequired[list["ImageDetectionsDetections"]]
    detectionCount: NotRequired[int]
    error: NotRequired["JobError"]


class JobError(TypedDict):
    code: str
    message: str


class JobListJobs(TypedDict):
    jobId: str
    kind: str
    status: Literal["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    blocked: NotRequired[Literal["capacity", "operator"]]
    blockedReason: NotRequired[str]
    userId: NotRequired[str]
    createdAt: str


class JobList(TypedDict):
    jobs: list["JobListJobs"]
    nextToken: NotRequired[str]


class LogPage(TypedDict):
    lines: list["LogLine"]
    cursor: "str | None"


class LogLine(TypedDict):
    time: str
    message: str


class GamePlaytimeMinutes(TypedDict):
    total: int
    windows: int
    mac: int
    linux: int


class Game(TypedDict):
    steamId: str
    appid: int
    name: str
    playtimeMinutes: "GamePlaytimeMinutes"
    recentMinutes: int
    lastPlayedAt: NotRequired[str]
    owned: bool
    match: Literal["PENDING", "MATCHED", "UNMATCHED", "IGNORED"]
    igdbId: NotRequired[int]
    addedAt: str
    updatedAt: str


class GameList(TypedDict):
    games: list["Game"]
    nextToken: NotRequired[str]


class Cancellation(TypedDict):
    jobId: str
    status: Literal["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    cancelRequested: NotRequired[Literal[True]]
    erased: NotRequired[bool]


class SearchResult(TypedDict):
    hits: list["SearchHit"]
    answer: NotRequired["SearchAnswer"]
    noAnswer: NotRequired[
        Literal["NO_HITS", "NOT_FOUND", "NOT_CITED", "THROTTLED", "UNAVAILABLE", "REFUSED", "UNUSABLE"]
    ]


class SearchAnswerSentences(TypedDict):
    text: str
    hits: list[int]


class SearchAnswer(TypedDict):
    text: str
    sentences: list["SearchAnswerSentences"]


class SearchHit(TypedDict):
    jobId: str
    userId: NotRequired[str]
    kind: str
    start: float
    end: float
    at: float
    text: str
    marks: list[list[int]]
    onScreen: NotRequired[str]
    speaker: NotRequired[str]
    speakers: NotRequired[list[str]]
    score: float
    links: NotRequired[dict[str, str]]


class Webhook(TypedDict):
    webhookId: str
    url: str
    eventTypes: list[Literal["job.running", "job.completed", "job.failed", "job.cancelled"]]
    kinds: NotRequired[list[str]]
    createdAt: str
    oldSecretUntil: NotRequired[str]
    failingSince: NotRequired[str]
    disabled: NotRequired[Literal["GONE", "FAILING"]]
    disabledAt: NotRequired[str]


class WebhookWithSecret(TypedDict):
    webhookId: str
    url: str
    eventTypes: list[Literal["job.running", "job.completed", "job.failed", "job.cancelled"]]
    kinds: NotRequired[list[str]]
    createdAt: str
    oldSecretUntil: NotRequired[str]
    failingSince: NotRequired[str]
    disabled: NotRequired[Literal["GONE", "FAILING"]]
    disabledAt: NotRequired[str]
    secret: str


class WebhookList(TypedDict):
    webhooks: list["Webhook"]


class WebhookDelivery(TypedDict):
    deliveryId: str
    eventId: str
    type: str
    at: str
    state: Literal["retrying", "delivered", "dead"]
    attempts: int
    lastAttemptAt: str
    nextAttemptAt: NotRequired[str]
    statusCode: NotRequired[int]
    reason: NotRequired[str]


class WebhookDeliveries(TypedDict):
    deliveries: list["WebhookDelivery"]


class WebhookQueued(TypedDict):
    deliveryId: str
    eventId: str


class Lane(TypedDict):
    name: str
    limit: int
    taken: int
    waiting: int
    oldestWaitingSince: Any
    paused: Any


class Lanes(TypedDict):
    lanes: list["Lane"]
