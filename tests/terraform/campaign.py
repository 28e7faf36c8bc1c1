"""``make terraform-check``: the scanner and every mutant, one by one, in one line.

Each mutant is planned for real, against an embedded AWS that Terraform has made everything in: so
every ARN is known and a policy is what it will be, not a promise of one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clickstream.config import Config
from rich.progress import track

from scripts import provision, terraform
from scripts.terraform import ROOT, Terraform
from tests.conftest import EmbeddedAws
from tests.terraform.policies import Plan, findings, unread

CHECKOV = ROOT / ".venv-check" / "bin" / "checkov"
#: Checks that look for a bucket's neighbours, which checkov cannot follow through a module in a
#: plan. It can in the sources, and there none is left out.
ONLY_IN_SOURCES = (
    "CKV2_AWS_6",
    "CKV2_AWS_61",
    "CKV2_AWS_62",
    "CKV_AWS_18",
    "CKV_AWS_21",
    "CKV_AWS_144",
    "CKV_AWS_145",
)
#: Checks that ask here for what would be wrong; docs/security.md says of each why.
NOT_HERE = (
    "CKV_AWS_59",
    "CKV_AWS_117",
    "CKV_AWS_120",
    "CKV_AWS_225",
    "CKV_AWS_272",
    "CKV2_AWS_51",
    "CKV2_AWS_53",
    "CKV2_AWS_77",
)
ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Mutant:
    """One mistake: in a file, a text becomes another.

    Attributes:
        rules: the rules that notice it, all of them.
        variables: what the plan is told beside it.
        is_blinding: whether policies cannot be read in its plan.
    """

    name: str
    file: str
    old: str
    new: str
    rules: list[str]
    variables: tuple[str, ...] = ()
    is_blinding: bool = False


MUTANTS = [
    Mutant(name, **mutant)
    for name, mutant in tomllib.loads(
        Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8")
    ).items()
]


def planned(made: Terraform, folder: Path, mutants: Iterable[Mutant] = ()) -> Plan:
    """The plan of a copy of terraform/ with these mistakes in it, against what is made.

    Raises:
        TerraformError: Terraform itself refuses the mistake.
    """
    variables = [f"-var={setting}" for mutant in mutants for setting in mutant.variables]
    root = mutated(folder, mutants)
    copy = replace(made, folder=root, arguments=[*made.arguments, *variables])
    copy.init()
    saved = folder / "plan"
    copy.plan("-refresh=false", "-lock=false", f"-out={saved}")
    return Plan(copy.show(saved))


def mutated(folder: Path, mutants: Iterable[Mutant]) -> Path:
    """A copy of terraform/ with the mistakes; a text that is not there any more is an error."""
    root = terraform.copy_root(folder)
    for mutant in mutants:
        path = root / mutant.file
        text = path.read_text()
        if mutant.old not in text:
            raise ValueError(f"mutant {mutant.name}: {mutant.file} has changed; mend the mutant")
        path.write_text(text.replace(mutant.old, mutant.new, 1))
    return root


def noticed(plan: Plan) -> set[str]:
    """The rules that a plan breaks."""
    return {finding.partition(":")[0] for finding in findings(plan)}


def batches(mutants: Iterable[Mutant]) -> Iterator[list[Mutant]]:
    """Mutants that different rules notice, so that one plan shows which of them were."""
    made: list[list[Mutant]] = []
    for mutant in mutants:
        for batch in made:
            others = {rule for other in batch for rule in other.rules}
            is_alike = (batch[0].variables, batch[0].is_blinding) == (
                mutant.variables,
                mutant.is_blinding,
            )
            if is_alike and not others & set(mutant.rules):
                batch.append(mutant)
                break
        else:
            made.append([mutant])
    yield from made


def scan(framework: str, *options: str | Path, without: Iterable[str] = ()) -> dict[str, int]:
    """What checkov counts: failed, skipped, parsing_errors, resource_count; and prints failures."""
    left_out = ",".join((*NOT_HERE, *without))
    done = subprocess.run(
        [
            *(CHECKOV, "--framework", framework, "--output", "json", "--compact", "--quiet"),
            *("--skip-download", "--skip-check", left_out, *options),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    for failure in report.get("results", {}).get("failed_checks", []):
        print(f"{failure['check_id']} {failure['resource']}: {failure['check_name']}")
    counts: dict[str, int] = report.get("summary", report)
    return counts


def scan_sources(variables: Path) -> dict[str, int]:
    """checkov over the sources, with an environment's variables."""
    with tempfile.TemporaryDirectory() as folder:
        copy = terraform.copy_root(Path(folder))
        return scan("terraform", "--directory", copy, "--var-file", variables)


def scan_plan(plan: Path) -> dict[str, int]:
    """checkov over a plan's JSON."""
    return scan("terraform_plan", "--file", plan, without=ONLY_IN_SOURCES)


def prod_plan(made: Terraform, folder: Path) -> Path:
    """A plan of prod.tfvars from nothing, as Terraform's JSON."""
    root = terraform.copy_root(folder)
    arguments = [
        f"-state={folder / 'none.tfstate'}",
        f"-var-file={root / 'envs' / 'prod.tfvars'}",
        f"-var=account_id={ACCOUNT}",
        "-var=is_embedded=true",
    ]
    prod = replace(made, folder=root, arguments=arguments)
    prod.init()
    prod.plan(f"-out={folder / 'prod.plan'}")
    path = folder / "prod.json"
    path.write_text(json.dumps(prod.show(folder / "prod.plan")))
    return path


def main() -> int:
    """Scan, mutate, print one line; 0 when nothing was found and every mutant was killed."""
    if not terraform.is_usable():
        print("terraform-check: needs Terraform 1.11 and TF_PLUGIN_DIR", file=sys.stderr)
        return 1
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="terraform-check-", dir=ROOT / "build"))
    try:
        with EmbeddedAws(folder / "aws") as aws:
            print("applying terraform/ to an embedded AWS", flush=True)
            made = provision.apply(aws.home, aws.endpoint, Config.from_environment({}))
            plan = scan_plan(prod_plan(made, folder / "prod"))
            sources = scan_sources(ROOT / "terraform" / "envs" / "prod.tfvars")
            problems = findings(planned(made, folder / "base"))
            survivors = []
            for mutant in track(MUTANTS, "mutants"):
                mistaken = planned(made, folder / "mutant", [mutant])
                found = noticed(mistaken)
                if found != set(mutant.rules):
                    survivors.append(f"{mutant.name}: noticed by {sorted(found) or 'nobody'}")
                elif bool(unread(mistaken)) != mutant.is_blinding:
                    survivors.append(f"{mutant.name}: is_blinding is wrong")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for problem in problems + survivors:
        print(problem)
    total = {name: sources[name] + plan[name] for name in ("failed", "skipped", "parsing_errors")}
    print(
        f"checkov failed={total['failed']} skipped={total['skipped']} "
        f"parse_errors={total['parsing_errors']} resources={plan['resource_count']} "
        f"mutants={len(MUTANTS) - len(survivors)}/{len(MUTANTS)}"
    )
    return 1 if problems or survivors or any(total.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
