import math

import pytest
import torch

import amends_unlearning
from amends import BadRecords, Cancelled, host
from amends.serving import open_version
from amends_unlearning import npo, unlearn_npo
from amends_unlearning.people import people, records


def test_npo_loss_is_two_log_two_over_beta_at_the_reference():
    logp = torch.tensor([-3.0, -5.0])
    torch.testing.assert_close(npo.npo_loss(logp, logp, beta=0.1), torch.tensor(2 * math.log(2) / 0.1))


def test_npo_loss_is_the_papers_formula():
    policy, reference, beta = torch.tensor([-2.0, -9.0]), torch.tensor([-4.0, -3.0]), 0.5
    expected = sum(2 / beta * math.log(1 + math.exp(beta * (p - r))) for p, r in ((-2, -4), (-9, -3))) / 2
    torch.testing.assert_close(npo.npo_loss(policy, reference, beta), torch.tensor(expected))


def test_npo_loss_has_the_right_gradient():
    policy = torch.tensor([-2.0, -9.0, -0.5], dtype=torch.double, requires_grad=True)
    reference = torch.tensor([-4.0, -3.0, -0.5], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda logp: npo.npo_loss(logp, reference, 0.3), policy)


@pytest.fixture
def parts(prepared, write_records):
    rows = prepared(records(people(4, 5), 5, share=0))
    gone = rows[0]["subjects"]
    forget = [row for row in rows if row["subjects"] == gone]
    retain = [row for row in rows if row["subjects"] != gone]
    return forget, dict(forget=write_records(forget), retain=write_records(retain), layers=2, rank=4, lr=1e-2)


def test_unlearning_makes_the_forgotten_less_likely_and_rehearsal_spares_the_kept(run_task, parts, tiny_version):
    forget, given = parts
    loaded = host.load([("unlearning", amends_unlearning)])

    def likelihood(version, rows):
        model = open_version(version, loaded)
        return sum(float(score.logp.mean()) for score in model.score([(row["prompt"], row["answer"]) for row in rows]))

    spared, careless = (
        run_task(unlearn_npo, epochs=5, batch=3, retain_weight=weight, **given).output for weight in (1.0, 0.0)
    )
    assert likelihood(spared, forget) < likelihood(tiny_version, forget)
    kept = list(given["retain"].rows())
    assert likelihood(spared, kept) > likelihood(careless, kept)
    assert not (spared / "attachments").exists()


def test_the_same_seed_gives_the_same_model_and_leaves_the_parent_alone(run_task, parts, tiny_version, files_of):
    before = files_of(tiny_version)
    first, second = (run_task(unlearn_npo, epochs=1, **parts[1]) for _ in range(2))
    assert files_of(first.output) == files_of(second.output)
    assert files_of(first.output)["model/model.safetensors"] != before["model/model.safetensors"]
    assert files_of(tiny_version) == before


def test_cancelling_stops_before_anything_is_written(run_task, parts, tmp_path):
    def stop(done, total, message):
        if done == 1:
            raise Cancelled("the task was cancelled")

    with pytest.raises(Cancelled):
        run_task(unlearn_npo, report=stop, epochs=3, **parts[1])
    assert not any(tmp_path.glob("version-*/model"))


def test_nothing_to_forget_is_refused(run_task, parts, write_records):
    with pytest.raises(BadRecords, match="give it both"):
        run_task(unlearn_npo, **parts[1] | {"forget": write_records([])})
