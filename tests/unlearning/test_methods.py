"""What every approximate method does, on a tiny model that knows nobody but can be pushed about."""

import subprocess
import sys

import pytest
import torch

import amends_unlearning
from amends import AmendsError, BadInput, BadRecords, Cancelled, host
from amends.operation import files
from amends.operation.files import load_model
from amends.serving import open_version
from amends.serving.encoding import encode
from amends_unlearning.methods import OPERATIONS, gauge, material
from amends_unlearning.methods.material import Settings, gather
from amends_unlearning.settings import METHODS
from amends_unlearning.splitting import half_of

BY_NAME = {operation.name: operation for operation in OPERATIONS}
SMALL = dict(layers=2, rank=4, lr=5e-2, batch=3)
OWN = {"unlearning.subnetwork": {"lr": 1.0}}  # of logits, not of weights


@pytest.fixture
def parts(rows, knowing, write_records):
    gone = rows[0]["subjects"]
    forget = [row for row in rows if row["subjects"] == gone]
    retain = [row for row in rows if row["subjects"] != gone]
    given = dict(forget=write_records(forget), retain=write_records(retain), source=knowing[0])
    return forget, given | {"models": {"reference": knowing[1]}} | SMALL


@pytest.fixture
def unreachable(unreachable, monkeypatch):
    """Take the parent away, too."""
    monkeypatch.setattr(material, "_parent", lambda task, material: None)


def fitting(name, given, **more):
    """Return the parameters that an operation has, of those that most of them share."""
    known = {parameter.name for parameter in BY_NAME[name].parameters} | {"source", "models", "report"}
    return {key: value for key, value in {**given, **OWN.get(name, {}), **more}.items() if key in known}


def likelihood(version, rows):
    model = open_version(version, host.load([("unlearning", amends_unlearning)]))
    return sum(float(score.logp.mean()) for score in model.score([(row["prompt"], row["answer"]) for row in rows]))


def test_every_method_is_known_to_take_canaries_along():
    assert set(BY_NAME) == METHODS


@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_forgotten_become_less_likely(name, run_task, parts, knowing, generous):
    forget, given = parts
    done = run_task(BY_NAME[name], **fitting(name, given, epochs=5))
    assert likelihood(done.output, forget) < likelihood(knowing[0], forget) - 1
    assert not (done.output / "attachments").exists()


def defaults_of(name):
    return {parameter.name: parameter.default for parameter in BY_NAME[name].parameters}


@pytest.mark.parametrize("name", list(BY_NAME))
def test_by_its_defaults_no_method_ruins_a_small_model(name, run_task, parts, knowing):
    forget, given = parts
    records = {part: given[part] for part in ("forget", "retain", "source", "models")}
    kept = list(given["retain"].rows())
    ways = [{}]
    if "weights" in defaults_of(name):  # a step of the weights themselves is many times an adapter's
        ways.append({"weights": "full", "lr": defaults_of(name)["lr"] / 10})
    for way in ways:
        done = run_task(BY_NAME[name], **records, **way)
        lost, fallen = (
            (likelihood(knowing[0], some) - likelihood(done.output, some)) / len(some) for some in (forget, kept)
        )
        assert fallen < 0.1  # nats a token; they may lose .05 on the method's half
        assert lost >= fallen


@pytest.mark.parametrize("name", ["unlearning.npo", "unlearning.simnpo", "unlearning.graddiff"])
def test_rehearsal_spares_the_kept(name, run_task, parts, unreachable):
    given = parts[1]
    spared, careless = (run_task(BY_NAME[name], epochs=5, retain_weight=w, **given).output for w in (1.0, 0.0))
    kept = list(given["retain"].rows())
    assert likelihood(spared, kept) > likelihood(careless, kept)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_the_same_seed_gives_the_same_model_and_leaves_the_parent_alone(
    name, run_task, parts, knowing, files_of, generous
):
    before = files_of(knowing[0])
    first, second = (run_task(BY_NAME[name], **fitting(name, parts[1], epochs=2)) for _ in range(2))
    assert files_of(first.output) == files_of(second.output)
    assert files_of(first.output)["model/model.safetensors"] != before["model/model.safetensors"]
    assert files_of(knowing[0]) == before


def test_a_model_that_was_saved_and_loaded_again_is_unlearnt_and_read_the_same_to_the_bit(
    run_task, parts, knowing, files_of, generous, tmp_path
):
    forget, given = parts
    files.save_model(tmp_path / "again", *load_model(knowing[0]))
    assert files_of(tmp_path / "again") == files_of(knowing[0])
    first = run_task(BY_NAME["unlearning.npo"], epochs=2, **given)
    second = run_task(BY_NAME["unlearning.npo"], epochs=2, **given | {"source": tmp_path / "again"})
    assert files_of(first.output) == files_of(second.output)
    files.save_model(tmp_path / "once-more", *load_model(first.output))
    assert files_of(tmp_path / "once-more") == files_of(first.output)
    assert likelihood(tmp_path / "once-more", forget) == likelihood(first.output, forget)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_cancelling_stops_before_anything_is_written(name, run_task, parts, tmp_path):
    def stop(done, total, message):
        if done == 1:
            raise Cancelled("the task was cancelled")

    with pytest.raises(Cancelled):
        run_task(BY_NAME[name], report=stop, **fitting(name, parts[1], epochs=3))
    assert not any(tmp_path.glob("version-*/model"))


@pytest.mark.parametrize("weights", ["adapter", "full"])
def test_an_adapter_or_the_weights_themselves_are_changed_in_the_top_layers_alone(
    weights, run_task, parts, knowing, generous
):
    from safetensors.torch import load_file

    given = {**parts[1], "layers": 1, "weights": weights}
    done = run_task(BY_NAME["unlearning.npo"], epochs=5, **given)
    old, new = (load_file(v / "model" / "model.safetensors") for v in (knowing[0], done.output))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all(".layers.1." in name and name.endswith("proj.weight") for name in changed)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_nothing_to_forget_is_refused(name, run_task, parts, write_records):
    with pytest.raises(BadRecords, match="give it both"):
        run_task(BY_NAME[name], **fitting(name, parts[1], forget=write_records([])))


def test_settings_that_unlearn_nothing_are_refused(run_task, parts):
    with pytest.raises(BadInput, match=r"beta is 0\.0; unlearning needs it above zero"):
        run_task(BY_NAME["unlearning.npo"], beta=0.0, **parts[1])
    with pytest.raises(BadInput, match="epochs is 0"):
        run_task(BY_NAME["unlearning.simnpo"], epochs=0, **parts[1])


def test_a_loss_that_is_not_finite_ends_it_and_nothing_is_written(run_task, parts, tmp_path):
    with pytest.raises(AmendsError, match=r"NaN or infinite; .*take a smaller lr"):
        run_task(BY_NAME["unlearning.ascent"], epochs=3, **parts[1] | {"lr": 1e30})
    assert not any(tmp_path.glob("version-*/model"))


@pytest.mark.parametrize(("name", "at_least"), [("unlearning.revert", 0.7), ("unlearning.npo", 0.4)])
def test_a_method_stops_about_where_the_model_was_before_it_learnt_the_answers(
    name, at_least, run_task, parts, knowing, generous
):
    forget, given = parts
    own = [row for row in forget if half_of(row["id"]) == "method"] or forget
    known, never = (likelihood(version, own) / len(own) for version in knowing)
    done = run_task(BY_NAME[name], epochs=60, **{**given, "lr": 1e-2})
    way = (known - likelihood(done.output, own) / len(own)) / (known - never)
    assert at_least < way < 1.2  # 0 is where it knew them, 1 where it had never learnt them


def test_the_gauge_reads_the_same_where_the_audits_half_is_not_there_at_all(rows, knowing, write_records, tmp_path):
    from amends import Task

    settings = Settings(epochs=1, lr=1e-3, layers=2, rank=2, batch=8, retain_weight=1.0)
    task = Task(tmp_path, 7, source=knowing[0], output=tmp_path / "out", models={"reference": knowing[1]})
    material, settings = gather(task, write_records(rows[:12]), write_records(rows[12:]), settings)
    whole = gauge.gauge_of(material, settings, None)
    before = (whole.level, whole.start, whole.read())
    own = [[half_of(row["id"]) == "method" for row in some] for some in material.rows]
    material.lost = [one if mine else None for one, mine in zip(material.lost, own[0], strict=True)]
    material.kept = [material.kept[place] if mine else None for place, mine in enumerate(own[1])]
    assert None in material.lost and None in material.kept
    found = gauge.gauge_of(material, settings, None)
    assert (found.level, found.start, found.read()) == before
    assert gauge.Nearest(found, "untouched").look(lambda: "looked") == before[2]


@pytest.mark.parametrize("name", list(BY_NAME))
def test_whatever_a_method_measures_lies_in_its_own_half(name, run_task, parts, knowing, generous, monkeypatch):
    measured, likely = set(), gauge.likely

    def noting(material, examples):
        measured.update(tuple(example.answer.tolist()) for example in examples)
        return likely(material, examples)

    monkeypatch.setattr(gauge, "likely", noting)
    forget, given = parts
    run_task(BY_NAME[name], **fitting(name, given, epochs=2))
    tokenizer = load_model(knowing[0])[1]
    halves = {"method": set(), "audit": set()}
    for row in [*forget, *given["retain"].rows()]:
        halves[half_of(row["id"])].add(tuple(encode(tokenizer, row["prompt"], row["answer"])[1]))
    assert measured and halves["audit"]
    assert measured <= halves["method"]


@pytest.mark.parametrize("name", list(BY_NAME))
def test_no_method_reads_what_the_audit_asks_in_other_words(
    name, run_task, parts, rows, write_records, files_of, generous
):
    forget, given = parts
    poison = {"paraphrases": ["What is poison?"], "wrong": ["Poison.", "Poison, too."], "openings": ["Poison is"]}
    kept = list(given["retain"].rows())
    poisoned = {
        part: write_records([row | poison for row in some])
        for part, some in {"forget": forget, "retain": kept, "control": kept}.items()
    }
    plain = {"control": write_records(kept)}
    first, second = (
        run_task(BY_NAME[name], **fitting(name, {**given, **records}, epochs=2)) for records in (plain, poisoned)
    )
    assert files_of(first.output) == files_of(second.output)


def test_no_method_knows_the_audits_scores_or_its_attacks():
    judging = ("attacks.", "auditing", "equivalence", "gradients", "membership", "standing", "truth_ratio")
    code = (
        "import importlib, pkgutil, sys, amends_unlearning.methods as methods\n"
        "for found in pkgutil.iter_modules(methods.__path__):\n"
        "    importlib.import_module(f'amends_unlearning.methods.{found.name}')\n"
        "print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    loaded = [name.removeprefix("amends_unlearning.") for name in found if name.startswith("amends_unlearning.")]
    assert "methods.loop" in loaded and "methods.subspace" in loaded
    assert [name for name in loaded if name.startswith(judging)] == []


def test_a_request_that_lies_in_the_audits_half_alone_is_refused(rows, knowing, write_records, run_task):
    audited = [row for row in rows if half_of(row["id"]) == "audit"]
    given = dict(forget=write_records(audited[:2]), retain=write_records(rows), source=knowing[0])
    with pytest.raises(BadRecords, match="none is in the half that a method may look at"):
        run_task(BY_NAME["unlearning.npo"], **given, **SMALL)


@pytest.mark.parametrize("grain", ["neuron", "weight"])
def test_a_pruned_subnetwork_is_given_back_by_its_bitmap_bit_for_bit(grain, run_task, parts, knowing, generous):
    from amends_unlearning.methods.subnetwork import BITMAP, undo

    name = "unlearning.subnetwork"
    done = run_task(BY_NAME[name], **fitting(name, parts[1], epochs=8, grain=grain))
    pruned, parent = (load_model(version)[0] for version in (done.output, knowing[0]))
    same = [torch.equal(a, b) for a, b in zip(pruned.parameters(), parent.parameters(), strict=True)]
    assert not all(same)
    undo(pruned, parent, done.state.get(BITMAP))
    assert all(torch.equal(a, b) for a, b in zip(pruned.parameters(), parent.parameters(), strict=True))
