"""Which stages of an analysis a video's job does."""

import pytest

from analyze_video.settings import Settings


@pytest.mark.parametrize(
    ("deployment", "job", "stages"),
    [
        ("", "", ()),
        ("scenes,speech", "", ("scenes", "speech")),
        ("", "speech, text", ("scenes", "speech", "text")),
        ("scenes,text,index", "text,scenes", ("scenes", "text")),
        ("scenes,text", "speech", ("scenes",)),
        ("scenes,text", "text,--help,../x", ("scenes", "text")),
    ],
)
def test_a_job_chooses_among_the_deployment_s_stages(deployment: str, job: str, stages: tuple[str, ...]) -> None:
    assert Settings.from_env({"ANALYSIS_STAGES": deployment, "STAGES": job}).stages == stages
