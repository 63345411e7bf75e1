"""The worker `detect_objects` as it is started: a process in its own environment, with S3 and DynamoDB on 127.0.0.1."""

import json
import random
import signal
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from detect_objects.boxes import overlap
from local.demos.media import PHOTOS, photo
from tests.unit.workers import attempts, standin
from tests.unit.workers.attempts import BUCKET, Outcome
from tests.unit.workers.onnx_models import constant, red_rectangle
from tests.unit.workers.standin import Fault, StandIn

FACE = (177, 67, 270, 160)  # the astronaut's
CROP = (100, 0)  # where pictures.py cuts the astronaut out of the photograph
BEYOND_THE_LIMIT = 32 * 2**20 + 1
BOMB = bytes.fromhex("524946461a000000574542505650384c0e0000002ffebfff0f071011fd0f4444ff03")
"""34 bytes of WebP that are 16,383 × 16,383 pixels."""


class Account(attempts.Account):
    """An account whose uploads come from files."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(stand_in.url, "detect_objects", AWS_REGION="us-east-1", AWS_BATCH_JOB_ID="run-1")
        self.stand_in = stand_in

    def submit(self, job_input: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        """Creates a job whose bucket has these `files` by key, and deletes everything of the previous job."""
        self.stand_in.reset()
        self.stand_in.uploads = {f"/{BUCKET}/{key}": path for key, path in files.items()}
        for name in self.results():
            self.s3.delete_object(Bucket=BUCKET, Key=f"results/job-1/{name}")
        self.record(input=job_input)

    def run(self, job_input: Mapping[str, Any], files: Mapping[str, Path], **changed: str) -> Outcome:
        """Submits a job and runs an attempt."""
        self.submit(job_input, files)
        return self.finish(self.start(**changed))


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with standin.listening() as stand_in, Account(stand_in).forking() as account:
        yield account


@pytest.fixture(scope="module")
def pictures(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder that pictures.py fills."""
    folder = tmp_path_factory.mktemp("pictures")
    script = Path(__file__).with_name("pictures.py")
    subprocess.run([account.python, script, photo("astronaut.png"), folder], check=True)
    return folder


def png(path: Path, size: tuple[int, int], rectangle: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Path:
    """Returns a PNG of this size, blue with a red rectangle."""
    (width, height), (x1, y1, x2, y2) = size, rectangle
    blue, red = b"\0\0\xff", b"\xff\0\0"
    crossed = blue * x1 + red * (x2 - x1) + blue * (width - x2)
    rows = [crossed if y1 <= y < y2 else blue * width for y in range(height)]
    path.write_bytes(png_of(rows, size))
    return path


def png_of(rows: Sequence[bytes], size: tuple[int, int]) -> bytes:
    """Returns a PNG with these rows of RGB bytes, whose header has this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def columns(*candidates: Sequence[float]) -> list[list[list[float]]]:
    """Returns candidates in YOLOv8's shape: (1, 4 + classes, N)."""
    return [[list(row) for row in zip(*candidates, strict=True)]]


def look(account: Account, files: Mapping[str, Path | bytes], folder: Path, **changed: str) -> Outcome:
    """Runs a job of all these files: key → path, or bytes to put into `folder`."""
    paths = {}
    for number, (key, content) in enumerate(files.items()):
        paths[key] = content if isinstance(content, Path) else folder / str(number)
        if isinstance(content, bytes):
            paths[key].write_bytes(content)
    return account.run({"imageUrls": [f"s3://{BUCKET}/{key}" for key in files]}, paths, **changed)


def saved(account: Account) -> list[dict[str, Any]]:
    """Returns the images in detections.json."""
    images: list[dict[str, Any]] = json.loads(account.result("detections.json")[1])["images"]
    return images


def errors(account: Account) -> dict[str, str]:
    """Returns key → error code of the failed images."""
    prefix = f"s3://{BUCKET}/"
    return {each["imageUrl"].removeprefix(prefix): each["error"]["code"] for each in saved(account) if "error" in each}


# ---- photographs, by the cascades


def test_photographs_are_looked_at_and_the_face_is_found(account: Account) -> None:
    keys = [f"uploads/2026/{name}" for name in PHOTOS]
    urls = [f"s3://{BUCKET}/{keys[0]}", *(f"https://{BUCKET}.s3.us-east-1.amazonaws.com/{key}" for key in keys[1:])]
    outcome = account.fresh().run({"imageUrls": urls}, {key: photo(key.rpartition("/")[2]) for key in keys})
    assert outcome.exit_code == 0, outcome.log
    content_type, body = account.result("detections.json")
    assert content_type == "application/json"
    assert [(image["imageUrl"], image["imageIndex"]) for image in json.loads(body)["images"]] == [
        (url, index) for index, url in enumerate(urls)
    ]
    china, flower, astronaut = json.loads(body)["images"]
    assert china == {"imageUrl": urls[0], "imageIndex": 0, "detections": [], "detectionCount": 0}
    assert flower["detections"] == []
    (face,) = astronaut["detections"]
    assert astronaut["detectionCount"] == 1
    assert face["label"] == "face"
    assert 0.5 < face["confidence"] <= 1
    assert round(face["confidence"], 4) == face["confidence"]
    assert all(type(edge) is int for edge in face["bbox"])
    assert overlap(tuple(face["bbox"]), FACE) > 0.8

    result = outcome.item["result"]
    assert result["files"] == ["detections.json"]
    assert (result["imageCount"], result["failedCount"], result["detectionCount"]) == (3, 0, 1)
    assert result["model"] == "opencv-haar-cascades"
    assert json.loads(json.dumps(result["detections"], default=float)) == json.loads(body)["images"]


def test_the_same_picture_gives_the_same_answer(account: Account, pictures: Path, tmp_path: Path) -> None:
    """Uses threshold 0, so that even chance detections must be the same."""
    same = {str(number): pictures / "colour.png" for number in range(2)}
    assert look(account, same, tmp_path, CONFIDENCE="0").exit_code == 0
    first, second = (image["detections"] for image in saved(account))
    assert first
    assert second == first


def test_a_face_is_found_however_the_picture_is_stored(account: Account, pictures: Path, tmp_path: Path) -> None:
    names = ("baseline.jpg", "progressive.jpg", "cmyk.jpg", "sideways.jpg", "broken-exif.jpg", "colour.png",
             "grey16.png", "see-through.png", "palette.png", "lossy.webp", "motion.jpg",
             # and whatever its metadata is
             "huge-icc.png", "unknown-icc.png", "empty-icc.png", "huge-xmp.png", "bad-text.png", "bad-text-length.png",
             "bad-gamma.png", "bad-exif.png", "corrupt-icc.png", "no-end.png", "half-end.png", "no-end.jpg",
             "half-end.jpg", "no-end-progressive.jpg", "short-icc.jpg", "short-jfif.jpg", "short-adobe.jpg",
             "bad-mpf.jpg", "junk.jpg", "huge-xmp.webp", "half-xmp.webp", "no-exif.webp")  # fmt: skip
    assert look(account, {name: pictures / name for name in names}, tmp_path).exit_code == 0
    expected = (FACE[0] - CROP[0], FACE[1] - CROP[1], FACE[2] - CROP[0], FACE[3] - CROP[1])
    for name, image in zip(names, saved(account), strict=True):
        assert [found["label"] for found in image["detections"]] == ["face"], name
        assert overlap(tuple(image["detections"][0]["bbox"]), expected) > 0.7, name


def test_boxes_of_a_picture_that_was_shrunk_are_in_its_own_pixels(
    account: Account, pictures: Path, tmp_path: Path
) -> None:
    large = {name: pictures / name for name in ("large.jpg", "large16.png")}
    assert look(account, large, tmp_path).exit_code == 0
    five = 1280 / 256
    expected = ((FACE[0] - CROP[0]) * five, FACE[1] * five, (FACE[2] - CROP[0]) * five, FACE[3] * five)
    for image in saved(account):
        (face,) = image["detections"]
        assert overlap(tuple(face["bbox"]), expected) > 0.7, image["imageUrl"]


# ---- bad pictures: an error each, beside the others' results


def test_a_bad_picture_is_an_error_of_its_own(account: Account, pictures: Path, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(BEYOND_THE_LIMIT)
    cut = ("truncated.jpg", "truncated.png", "truncated.webp", "almost.jpg", "almost-progressive.jpg", "almost.png")
    damaged = {name: pictures / name for name in (*cut, "corrupt.png")}
    costly = {name: pictures / name for name in ("scans.jpg", "passes.jpg", "comments.jpg", "chunks.png")}
    expected = {
        **dict.fromkeys(damaged, "BROKEN_IMAGE"),
        "empty.jpg": "EMPTY_FILE",
        "page.jpg": "NOT_AN_IMAGE",
        "moving.gif": "NOT_AN_IMAGE",
        "renamed.jpg": "NOT_AN_IMAGE",
        "drawing.svg": "NOT_AN_IMAGE",
        "bomb.png": "IMAGE_TOO_LARGE",
        "bomb.webp": "IMAGE_TOO_LARGE",
        **dict.fromkeys(costly, "IMAGE_TOO_LARGE"),
        "huge.jpg": "IMAGE_TOO_LARGE",
    }
    outcome = look(
        account.fresh(),
        {
            "first.jpg": pictures / "baseline.jpg",
            **damaged,
            "empty.jpg": b"",
            "page.jpg": b"<!doctype html><html><body>404 Not Found</body></html>",
            "moving.gif": pictures / "moving.gif",
            "renamed.jpg": pictures / "renamed.jpg",
            "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            "bomb.png": png_of([bytes(30)] * 10, (60_000, 60_000)),
            "bomb.webp": BOMB,
            **costly,
            "huge.jpg": tmp_path / "huge",
            "last.jpg": pictures / "baseline.jpg",
        },
        tmp_path,
    )
    assert outcome.exit_code == 0, outcome.log
    assert errors(account) == expected
    assert [image["detectionCount"] for image in saved(account)] == [1, *[0] * len(expected), 1]
    assert outcome.item["result"]["failedCount"] == len(expected)
    assert outcome.peak_megabytes < 350


def test_an_image_that_is_missing_or_elsewhere_is_an_error_of_its_own(account: Account, pictures: Path) -> None:
    good, missing = f"s3://{BUCKET}/good.jpg", f"s3://{BUCKET}/missing.jpg"
    elsewhere = ["s3://other/good.jpg", "http://127.0.0.1/good.jpg", "file:///etc/passwd", "good.jpg", ""]
    outcome = account.run({"imageUrls": [missing, good, *elsewhere]}, {"good.jpg": pictures / "baseline.jpg"})
    assert outcome.exit_code == 0, outcome.log
    assert [image.get("error", {}).get("code") for image in saved(account)] == [
        "NOT_FOUND",
        None,
        *["URL_NOT_ALLOWED"] * len(elsewhere),
    ]


def test_where_every_image_fails_the_job_does_and_says_of_what(account: Account, tmp_path: Path) -> None:
    account.submit({"imageUrls": [f"s3://{BUCKET}/{key}" for key in ("gone", "page", "lost")]}, {})
    account.stand_in.uploads[f"/{BUCKET}/page"] = Path(__file__)
    outcome = account.finish(account.start())
    assert outcome.exit_code == 65
    assert outcome.error == (
        "ALL_IMAGES_FAILED",
        "every image failed: 2 × NOT_FOUND, 1 × NOT_AN_IMAGE",
    )
    assert account.results() == set()


@pytest.mark.parametrize(
    "given",
    [{}, {"imageUrls": ["s3://media/a.jpg", 7]}],
    ids=["nothing", "a number"],
)
def test_input_without_images_is_refused(account: Account, given: Mapping[str, Any]) -> None:
    outcome = account.run(given, {})
    assert outcome.exit_code == 65
    assert outcome.error[0] == "BAD_INPUT"


# ---- S3 in trouble, the end of the machine, and very long lists


def test_s3_in_trouble_for_a_moment_is_survived(account: Account, pictures: Path) -> None:
    account.submit({"imageUrls": [f"s3://{BUCKET}/a.jpg"]}, {"a.jpg": pictures / "baseline.jpg"})
    account.stand_in.faults = [Fault(status=503), Fault(bytes_sent=1000), Fault(status=500)]
    assert account.finish(account.start()).exit_code == 0
    assert errors(account) == {}


def test_s3_in_trouble_with_every_image_means_try_again(account: Account, pictures: Path) -> None:
    account.submit({"imageUrls": [f"s3://{BUCKET}/a.jpg"]}, {"a.jpg": pictures / "baseline.jpg"})
    account.stand_in.faults = [Fault(bytes_sent=1000)] * 3
    outcome = account.finish(account.start())
    assert outcome.exit_code == 75
    assert outcome.error == ("ALL_IMAGES_FAILED", "every image failed: 1 × UNREACHABLE")


def test_sigterm_between_images_means_stopping_with_nothing_saved(account: Account, pictures: Path) -> None:
    account.submit({"imageUrls": [f"s3://{BUCKET}/a.jpg"] * 1000}, {"a.jpg": pictures / "baseline.jpg"})
    process = account.start()
    while len(account.stand_in.ranges) < 8:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    outcome = account.finish(process)
    assert outcome.exit_code == 75
    assert outcome.item["progress"]["message"].endswith("of 1000 images")
    assert account.results() == set()
    assert len(account.stand_in.ranges) < 100


@pytest.mark.heavy
def test_a_thousand_images_take_no_more_memory_than_twenty(account: Account, tmp_path: Path) -> None:
    """Each file has 150 KB that don't compress; the list of what was found is too long for the job's record."""
    noise = random.Random(1)  # noqa: S311 - as good as any here
    (tmp_path / "noise.png").write_bytes(png_of([noise.randbytes(3 * 224) for _ in range(224)], (224, 224)))
    model = tmp_path / "model.onnx"
    model.write_bytes(constant(columns((32, 32, 10, 10, 0.9)), names="{0: 'car'}"))
    few, many = (
        account.fresh().run(
            {"imageUrls": [f"s3://{BUCKET}/noise.png"] * count},
            {"noise.png": tmp_path / "noise.png"},
            MODEL_PATH=str(model),
        )
        for count in (20, 1000)
    )
    assert (few.exit_code, many.exit_code) == (0, 0)
    assert len(few.item["result"]["detections"]) == 20
    assert "detections" not in many.item["result"]
    assert many.item["result"]["detectionCount"] == 1000
    assert [image["imageIndex"] for image in saved(account)] == list(range(1000))
    assert many.peak_megabytes - few.peak_megabytes < 30


# ---- ONNX models


def found(
    account: Account, picture: Path, model: bytes, folder: Path, **changed: str
) -> list[tuple[str, float, list[int]]]:
    """Returns a model's detections on a picture: label, confidence, box."""
    path = folder / "model-of-the-test.onnx"
    path.write_bytes(model)
    outcome = look(account, {"picture": picture}, folder, MODEL_PATH=str(path), **changed)
    assert outcome.exit_code == 0, outcome.log
    assert outcome.item["result"]["model"] == "model-of-the-test"
    (image,) = saved(account)
    return [(each["label"], each["confidence"], each["bbox"]) for each in image["detections"]]


@pytest.mark.parametrize(("layout", "confidence"), [("v8", 1.0), ("v5", 0.5)])
def test_a_rectangle_is_found_where_it_was_drawn(
    account: Account, tmp_path: Path, layout: str, confidence: float
) -> None:
    """Tests scaling, padding on either side, colours, the model, and the way back."""
    (tmp_path / "model.onnx").write_bytes(red_rectangle(layout, size=(320, 160)))
    drawn = {
        (640, 160): (100, 20, 500, 120),
        (200, 400): (40, 100, 100, 300),
        (40, 60): (10, 10, 30, 40),
        (960, 480): (0, 0, 960, 480),
    }
    files: dict[str, Path | bytes] = {
        str(number): png(tmp_path / f"{number}.png", size, box) for number, (size, box) in enumerate(drawn.items())
    }
    assert look(account, files, tmp_path, MODEL_PATH=str(tmp_path / "model.onnx")).exit_code == 0
    for (size, box), image in zip(drawn.items(), saved(account), strict=True):
        (detection,) = image["detections"]
        assert detection["label"] == "rectangle"
        assert detection["confidence"] == pytest.approx(confidence, abs=0.02)
        pixel_of_the_model = max(1, size[0] / 320, size[1] / 160)
        assert detection["bbox"] == pytest.approx(box, abs=pixel_of_the_model), size


def test_a_model_that_takes_any_size_gets_640_pixels(account: Account, tmp_path: Path) -> None:
    model = red_rectangle("v8", size=("width", "height"))
    drawn = (100, 200, 900, 1000)
    ((_, _, box),) = found(account, png(tmp_path / "drawn.png", (1280, 1280), drawn), model, tmp_path)
    assert box == list(drawn)


def test_candidates_become_detections(account: Account, tmp_path: Path) -> None:
    """The picture fills the model's frame, so that the boxes are the model's own."""
    output = columns(
        (20, 20, 20, 20, 0.0, 0.9),  # a car
        (21, 20, 20, 20, 0.0, 0.8),  # the same one
        (20, 20, 20, 20, 0.7, 0.0),  # a person in the same place
        (50, 50, 10, 10, 0.0, 0.2501),  # hardly one
        (50, 10, 10, 10, 0.0, 0.2499),  # hardly none
        (62, 62, 20, 20, 0.6, 0.0),  # partly beside the picture
        (100, 100, 10, 10, 0.99, 0.0),  # wholly
        (float("nan"), 5, 5, 5, 0.99, 0.0),
        (10, 50, 10.9, 10.9, 0.12345678, 0.5),
    )
    model = constant(output, names="{0: 'person', 1: 'car'}")
    assert found(account, png(tmp_path / "plain.png", (64, 64)), model, tmp_path) == [
        ("car", 0.9, [10, 10, 30, 30]),
        ("person", 0.7, [10, 10, 30, 30]),
        ("person", 0.6, [52, 52, 64, 64]),
        ("car", 0.5, [5, 45, 15, 55]),
        ("car", 0.2501, [45, 45, 55, 55]),
    ]


def test_thresholds_are_settings(account: Account, tmp_path: Path) -> None:
    output = columns((20, 20, 20, 20, 0.9), (25, 20, 20, 20, 0.8), (20, 25, 20, 20, 0.7), (50, 50, 10, 10, 0.1))
    model, plain = constant(output, names="{0: 'car'}"), png(tmp_path / "plain.png", (64, 64))
    # A box that is moved by a quarter of its side overlaps by 15 / 25 = 0.6, one that is moved both ways by less.
    assert [sure for _, sure, _ in found(account, plain, model, tmp_path, IOU="0.61", CONFIDENCE="0.75")] == [0.9, 0.8]
    assert [sure for _, sure, _ in found(account, plain, model, tmp_path, IOU="0.59", CONFIDENCE="0")] == [0.9, 0.1]


def test_labels_come_from_a_file_before_the_metadata(account: Account, tmp_path: Path) -> None:
    model = constant(columns((20, 20, 20, 20, 0.1, 0.9)), names="{0: 'person', 1: 'car'}")
    (tmp_path / "labels.txt").write_text("Mensch\nAuto\n")
    plain = png(tmp_path / "plain.png", (64, 64))
    ((label, *_),) = found(account, plain, model, tmp_path, LABELS_PATH=str(tmp_path / "labels.txt"))
    assert label == "Auto"


def test_without_labels_the_shape_tells_the_layout_and_classes_have_numbers(account: Account, tmp_path: Path) -> None:
    nothing = (0.0,) * 7
    v8 = columns((20, 20, 20, 20, 0.1, 0.9, 0.0), *[nothing] * 10)
    v5 = [[[20.0, 20.0, 20.0, 20.0, 0.9, 0.5, 0.1], *([list(nothing)] * 10)]]
    plain = png(tmp_path / "plain.png", (64, 64))
    assert found(account, plain, constant(v8), tmp_path) == [("1", 0.9, [10, 10, 30, 30])]
    assert found(account, plain, constant(v5), tmp_path) == [("0", 0.45, [10, 10, 30, 30])]


def test_a_model_of_half_precision_is_fed_with_it(account: Account, tmp_path: Path) -> None:
    model = constant(columns((20, 20, 20, 20, 0.9)), names="['car']", half=True)
    assert found(account, png(tmp_path / "plain.png", (64, 64)), model, tmp_path) == [("car", 0.9, [10, 10, 30, 30])]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"no model at all", "onnxruntime can't load it"),
        (constant(columns((1.0,) * 10), names="{0: 'car'}"), "isn't of YOLOv8 or YOLOv5 for 1 labels"),
        (constant(columns((1.0,) * 5), names="__import__('os')"), "can't read its metadata `names`"),
    ],
    ids=["rubbish", "another shape", "code for labels"],
)
def test_a_model_that_cannot_be_used_is_said_to_be(account: Account, tmp_path: Path, model: bytes, words: str) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    plain = png(tmp_path / "plain.png", (64, 64))
    outcome = look(account, {"plain": plain}, tmp_path, MODEL_PATH=str(tmp_path / "model.onnx"))
    assert outcome.exit_code == 65
    assert outcome.error[0] == "BAD_MODEL"
    assert words in outcome.error[1]


def test_every_bad_setting_is_named_at_once(account: Account) -> None:
    outcome = account.run(
        {"imageUrls": ["s3://media/a.jpg"]}, {}, CONFIDENCE="high", IOU="1.5", LABELS_PATH="/no/labels"
    )
    assert outcome.exit_code == 65
    assert outcome.error[0] == "BAD_ENVIRONMENT"
    for name in ("CONFIDENCE", "IOU", "LABELS_PATH"):
        assert name in outcome.error[1]
