import subprocess
import sys

from click import Group

import amends_probes
import amends_unlearning
from amends import Guarantee, host
from amends_unlearning import train_shards, unlearn_shards


def test_every_operation_is_offered_with_probes_that_exist():
    loaded = host.load([("unlearning", amends_unlearning), ("probes", amends_probes)])
    loaded.require_whole()
    for name in ("training.shards", "unlearning.shards", "unlearning.npo"):
        assert loaded.operation(name).verified_by == amends_unlearning.VERIFIED_BY
    assert loaded.attachment("shards").kind == "shards"


def test_only_what_rebuilds_claims_to_be_exact():
    offered = list(amends_unlearning.amends_operations())
    rebuilding = {operation.name for operation in offered if operation.rebuilds}
    assert rebuilding == {o.name for o in offered if o.guarantee is Guarantee.EXACT}
    assert rebuilding == {
        "unlearning.shards", "unlearning.replay", "unlearning.retrain", "unlearning.replay-trainer"
    }  # fmt: skip
    trainings = {"training.shards", "training.finetune", "training.trainer"}
    assert {o.name for o in offered if o.guarantee is None} == trainings
    assert [o.name for o in offered if o.accepts] == ["unlearning.shards"]


def test_an_erasure_takes_every_parameter_of_the_training_with_the_same_default():
    assert set(train_shards.parameters) < set(unlearn_shards.parameters)
    assert {parameter.name for parameter in set(unlearn_shards.parameters) - set(train_shards.parameters)} == {
        "from_scratch"
    }


def test_declaring_the_plugin_imports_nothing_heavy():
    code = "import amends_unlearning; from amends.host import heavy_modules; print(*heavy_modules())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_command_line_without_data_commands_is_left_alone():
    cli = Group("amends")
    amends_unlearning.amends_commands(cli)
    assert not cli.commands
