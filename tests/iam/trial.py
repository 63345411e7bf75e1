"""The system on which probes run while permissions are missing."""

import contextlib
import json
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import yaml

from local import view
from local.environment import STATE, bare
from local.processes import locked
from local.stack import STACK_NAME, LocalStack, Say
from local.workers import CLUSTER, TASKS, TaskDefinition
from tests import nursery
from tests.iam.permissions import Permission, Template, without
from tests.iam.probes import Hands, Probe
from tests.integration.system import PATIENCE

FOLDER: Final = STATE / "iam"
QUEUES: Final = (*view.QUEUES, "ReconcileDeadLetterQueue")
KEYS: Final = {"JobsTable": ("jobId",), "LanesTable": ("pk", "sk"), "LibraryTable": ("pk", "sk")}
TEMPLATES: Final = "switchyard-trial"
QUIET_SECONDS: Final = 0.5
_FOLDER_OF_A_KEY: Final = re.compile(r"\b(uploads|quiet|recordings)/[0-9a-f-]{36}/")


@dataclass(frozen=True)
class Outcome:
    """A probe's result: how it failed, if it did, and how long it took."""

    failure: str | None
    seconds: float


class Trial:
    """A deployed system whose permissions can be removed temporarily."""

    def __init__(self, stack: LocalStack, gates: Path, ledger: Path) -> None:
        self._stack = stack
        self._gates = gates
        self._ledger = ledger
        deployed = stack.client("cloudformation").get_template(StackName=STACK_NAME, TemplateStage="Original")
        self.template: Template = yaml.safe_load(deployed["TemplateBody"])

    @classmethod
    @contextlib.contextmanager
    def running(cls, say: Say) -> Iterator[Self]:
        """Deploys a system and ends it after the `with` block."""
        gates, ledger = FOLDER / "gates", FOLDER / "ledger"
        gates.mkdir(parents=True, exist_ok=True)
        job = nursery.definition(FOLDER / "nursery.sock", gates=gates, ledger=ledger, grace=1)
        with locked(FOLDER / "session.lock"):
            # The reconciler runs when a probe invokes it, not on its schedule in the middle of one.
            stack = LocalStack(
                FOLDER,
                parameters={
                    "ReconcileMinutes": "60",
                    "MaxConcurrentImages": "1",
                    "TransmissionTaskDefinition": "seed-torrent",
                },
                definitions={"analyze-video": job},
                tasks={
                    **TASKS,
                    **dict.fromkeys(
                        ("detect-objects", "seed-torrent"), TaskDefinition(job.command, job.environment, grace=1)
                    ),
                },
            )
            stack.down()  # left by a killed run
            ledger.unlink(missing_ok=True)
            with (
                stack.running(say),
                nursery.serving(
                    FOLDER / "nursery.sock",
                    "tests.integration.job:perform",
                    env=bare(stack.emulator.url),
                    log=stack.logs / "nursery.log",
                ),
            ):
                yield cls(stack, gates, ledger)

    @contextlib.contextmanager
    def lacking(self, taken: Collection[Permission]) -> Iterator[None]:
        """Removes these permissions while the block runs."""
        self._deploy(without(self.template, taken))
        try:
            yield
        finally:
            self._deploy(self.template)

    def run(self, probe: Probe, patience: float = PATIENCE) -> Outcome:
        """Runs a probe; call `clear` afterwards. `patience` is the most seconds for each of its steps."""
        system = Hands(self._stack, self._gates, self._ledger, probe.road, patience)
        began = time.monotonic()
        try:
            probe.run(system)
        except AssertionError as error:
            first_line = _FOLDER_OF_A_KEY.sub("", str(error).partition("\n")[0])[:120]
            return Outcome(first_line or "not as expected", time.monotonic() - began)
        else:
            return Outcome(None, time.monotonic() - began)

    def clear(self) -> None:
        """Ends and deletes everything until nothing comes back."""
        system = Hands(self._stack, self._gates, self._ledger)
        system.no_more_faults()
        deadline = time.monotonic() + PATIENCE
        while self._sweep(system):
            if time.monotonic() > deadline:
                raise TimeoutError("the system won't come to rest")
            # A running invocation may still write.
            time.sleep(QUIET_SECONDS)

    def _sweep(self, system: Hands) -> bool:
        """Sweeps once, and returns whether there was anything to sweep."""
        batch, ecs, sqs, dynamodb = (self._stack.client(name) for name in ("batch", "ecs", "sqs", "dynamodb"))
        found = False
        for job in system.compute("GET", "/_compute/jobs?limit=1000")["jobs"]:
            if job["status"] not in {"SUCCEEDED", "FAILED"}:
                found = True
                batch.terminate_job(jobId=job["jobId"], reason="the probe has ended")
        for task in system.compute("GET", "/_compute/tasks?limit=1000")["tasks"]:
            if task["lastStatus"] != "STOPPED":
                found = True
                ecs.stop_task(cluster=CLUSTER, task=task["taskArn"], reason="the probe has ended")
        for queue in QUEUES:
            url = self._stack.resource(queue)
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            depths = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            found |= any(depths[name] != "0" for name in names)
            sqs.purge_queue(QueueUrl=url)
        for table, key in KEYS.items():
            name = self._stack.resource(table)
            for item in dynamodb.scan(TableName=name, ConsistentRead=True)["Items"]:
                found = True
                dynamodb.delete_item(TableName=name, Key={attribute: item[attribute] for attribute in key})
        return found

    def _deploy(self, template: Template) -> None:
        cloudformation, s3 = self._stack.client("cloudformation"), self._stack.client("s3")
        # CloudFormation accepts at most 51,200 bytes in the call itself.
        s3.create_bucket(Bucket=TEMPLATES)
        s3.put_object(Bucket=TEMPLATES, Key="template.json", Body=json.dumps(template).encode())
        cloudformation.update_stack(
            StackName=STACK_NAME,
            TemplateURL=f"{self._stack.emulator.url}/{TEMPLATES}/template.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": name, "UsePreviousValue": True} for name in self._stack.parameters],
        )
        cloudformation.get_waiter("stack_update_complete").wait(
            StackName=STACK_NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
