import subprocess
import sys

from click import Group

import amends_probes
import amends_unlearning
from amends import Guarantee, host
from amends_unlearning import train_shards, unlearn_shards
from amends_unlearning.methods import unlearn_by_npo


def test_every_operation_is_offered_with_probes_that_exist():
    loaded = host.load([("unlearning", amends_unlearning), ("probes", amends_probes)])
    loaded.require_whole()
    for name in ("training.shards", "unlearning.shards", "unlearning.npo"):
        assert loaded.operation(name).verified_by == amends_unlearning.VERIFIED_BY
    assert loaded.attachment("shards").kind == "shards"


def test_only_the_operation_on_shards_claims_to_be_exact():
    assert unlearn_shards.guarantee is Guarantee.EXACT and unlearn_shards.accepts == ("shards",)
    assert unlearn_by_npo.guarantee is Guarantee.APPROXIMATE and unlearn_by_npo.accepts == ()
    assert train_shards.guarantee is None and train_shards.accepts == ()


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
