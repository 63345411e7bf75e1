"""What a worker writes can be read over the API, on both targets."""

from local import api
from tests.integration.roads import OVER_BOTH
from tests.integration.system import System

pytestmark = OVER_BOTH


def test_the_log_of_a_job_is_shown(system: System) -> None:
    key = system.upload(permanent="NOT_A_VIDEO")
    job = system.wait_for(key, "FAILED")

    with api.client(system.stack) as http:

        def told() -> bool:  # lines arrive in batches
            lines = http.get(f"/jobs/{job['jobId']}/logs").raise_for_status().json()["lines"]
            return any("NOT_A_VIDEO" in line["message"] for line in lines)

        system.until(told, "the line that says why")
