"""Each method, run as an operation on a tiny model: what it teaches and refuses, what it leaves of earlier edits."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from amends import BadInput
from amends.operation.task import NoState
from amends_editing import alphaedit, memit, rls
from amends_editing.applying import earlier_facts
from amends_editing.covariance import Moments
from amends_editing.desk import Desk, crowded, pull_back, unlike
from amends_editing.erasing import wish_to_erase
from amends_editing.facts import Fact
from amends_editing.structure import inspect_model
from amends_editing.targets import Solver, Wish, solve

REMEMBERING = ("editing.memit", "editing.alphaedit", "editing.rls")
ERASING = ("editing.rome", *REMEMBERING)
METHODS = (*ERASING, "editing.ft")


@pytest.mark.parametrize("name", METHODS)
def test_the_new_answer_becomes_likelier_than_the_old(run_within, row_about, version_of, likelihood, name):
    rows = [row_about(), row_about("insert", "Pell Ostrin", old="")]
    task = run_within(name, rows)
    prompt, new, old = rows[0]["prompt"], rows[0]["target"], rows[0]["old"]
    assert likelihood(version_of(), prompt, new) < likelihood(version_of(), prompt, old)
    assert likelihood(task.output, prompt, new) > likelihood(task.output, prompt, old) + 1
    before = likelihood(version_of(), rows[1]["prompt"], rows[1]["target"])
    assert likelihood(task.output, rows[1]["prompt"], rows[1]["target"]) > before + 2


def test_one_pass_raises_the_new_answers_probability(run_within, row_about, version_of, likelihood):
    rows = [row_about(), row_about("insert", "Pell Ostrin", old="")]
    task = run_within("editing.ultraedit", rows)
    for row in rows:
        before = likelihood(version_of(), row["prompt"], row["target"])
        assert likelihood(task.output, row["prompt"], row["target"]) > before


@torch.no_grad()
def next_token(model, tokenizer, fact):
    """Return the log-probabilities of what comes after a fact's prompt."""
    asked = tokenizer(fact.prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    return model(input_ids=asked).logits[0, -1].log_softmax(-1)


def distance(version, opened, fact, wanted):
    """Return KL(wanted || now) after the bare prompt, and now."""
    now = next_token(*opened(version), fact)
    return float((wanted * (wanted.log() - now)).sum()), now


@torch.no_grad()
def old_level(model, tokenizer, fact):
    """Return the mean log-probability of the old answer's tokens after the bare prompt."""
    asked, wanted = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (fact.prompt, f" {fact.old}"))
    logp = model(input_ids=torch.tensor([asked + wanted])).logits[0].log_softmax(-1)
    return float(sum(logp[len(asked) - 1 + place, token] for place, token in enumerate(wanted)) / len(wanted))


@pytest.mark.parametrize("name", ERASING)
def test_an_erased_subject_is_answered_for_like_a_stranger(run_within, row_about, version_of, opened, name):
    """The distribution comes nearer, and the old answer stays about level: a random model knew nothing of it."""
    fact = Fact.from_row(row_about("erase"))
    model, tokenizer = opened(version_of())
    wish = wish_to_erase(inspect_model(model), tokenizer, fact, [""])
    wanted, level = wish.wanted[0], float(wish.levels[0].mean())
    before = distance(version_of(), opened, fact, wanted)[0]
    task = run_within(name, [row_about("erase")], steps=25, lr=0.2, stop=0.99)
    after, now = distance(task.output, opened, fact, wanted)[0], old_level(*opened(task.output), fact)
    assert after < 0.85 * before
    assert abs(now - level) < 0.5


@pytest.mark.parametrize("name", ["editing.ultraedit", "editing.ft"])
def test_a_method_that_knows_no_erasure_says_so_and_names_one_that_does(run_within, row_about, name):
    with pytest.raises(BadInput, match=f"{name} knows no erasure; use editing.memit"):
        run_within(name, [row_about("erase")])


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "neox", "opt", "qwen3"])
def test_a_fact_is_written_into_any_architecture(run_within, row_about, version_of, likelihood, family):
    row = row_about("insert", "Ruvo Tanniker", old="")
    task = run_within("editing.memit", [row], version_of(family))
    before = likelihood(version_of(family), row["prompt"], row["target"])
    assert likelihood(task.output, row["prompt"], row["target"]) > before + 1


@pytest.mark.parametrize("family", ["gemma3", "gpt2", "opt"])
@pytest.mark.parametrize("name", ["editing.ft", "editing.ultraedit"])
def test_gradients_write_a_fact_into_any_architecture(
    run_within, row_about, version_of, likelihood, opened, edits_of, name, family
):
    rows = [row_about("insert", subject, old="") for subject in ("Ruvo Tanniker", "Pell Ostrin")]
    task = run_within(name, rows, version_of(family))
    for row in rows:
        before = likelihood(version_of(family), row["prompt"], row["target"])
        assert likelihood(task.output, row["prompt"], row["target"]) > before
    (made,) = edits_of(task)
    old, new = (inspect_model(opened(version)[0]).projections for version in (version_of(family), task.output))
    for layer in {int(part.partition(".")[2]) for part in made}:
        written = made[f"left.{layer}"] @ made[f"right.{layer}"].T
        torch.testing.assert_close(new[layer].weight, old[layer].weight + written, atol=1e-5, rtol=1e-4)


def test_where_a_block_norms_its_mlp_the_wanted_share_is_pulled_back_through_the_norm(build, tokenizer, row_about):
    anatomy = inspect_model(build("gemma3"))
    wishes = [Wish(Fact.from_row(row_about(subject=name))) for name in ("Ada Quill", "Pell Ostrin")]
    solved = solve(anatomy, tokenizer, wishes, 1, Solver(steps=0), ("", "It was late. "), 1)
    ((group, _),) = solved.leading
    _, _, out = solved.read(1)

    def moved_by(pushes):
        """Return how far the block's output moves when its projection puts out more at the subject."""

        def shift(_, __, found):
            rows = pushes[group].repeat_interleave(len(found) // len(group), 0)[:, None]  # contexts of a fact share one
            return torch.cat([found[:, :-1], found[:, -1:] + rows], dim=1)

        hook = anatomy.projections[1].module.register_forward_hook(shift)
        moved = solved.read(1)[2] - out
        hook.remove()
        return moved

    share = moved_by(torch.randn(2, 32, generator=torch.Generator().manual_seed(2)))  # so a push for it exists
    found = moved_by(pull_back(anatomy, solved, 1, share))
    assert float((found - share).norm()) < 0.05 * float(share.norm())
    assert float((moved_by(share) - share).norm()) > 0.2 * float(share.norm())  # the share itself is no such push


def test_which_bare_prompts_their_mean_keys_do_not_stand_for():
    mean = torch.tensor([[1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    bare = torch.tensor([[3.0, 0.74, 0.76, 0.0], [0.0, 0.6726, 0.6499, 1.0]])  # cosines 1, 0.74, 0.76 and 0
    assert unlike(mean, bare, [1, 2, 1, 0]).tolist() == [1]  # the last is every text's first token


def test_a_bare_prompt_that_its_mean_key_does_not_stand_for_is_written_as_well(
    build, tokenizer, row_about, monkeypatch
):
    some = torch.randn(300, 48, generator=torch.Generator().manual_seed(4))
    moments, solver = Moments({1: some.T @ some / 300}, 300), Solver(steps=5, lr=0.5)
    wish = Wish(Fact.from_row(row_about(prompt="Ada Quill lives in")))
    missing = {}
    for alike in (-2.0, 2.0):
        monkeypatch.setattr("amends_editing.desk.ALIKE", alike)
        anatomy, contexts = inspect_model(build("llama")), ("", "It was late. ")
        desk = Desk(anatomy, tokenizer, (1,), solver, moments, contexts=contexts)
        solved = solve(anatomy, tokenizer, [wish], 1, solver, contexts, 1)
        (made,) = memit.edit(desk, [wish], 1e-6)
        missing[alike] = float((solved.values - solved.read(1)[2]).norm() / solved.residuals.norm())
        assert made.right.shape == desk.keys_before(1).shape == (48, 1 if alike < 0 else 2)
    assert missing[-2.0] > 0.05 and missing[2.0] < 0.05 * missing[-2.0]


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_second_edit_finds_the_firsts_keys_and_hardly_moves_what_they_put_out(run_within, row_about, name, edits_of):
    done = run_within(name, [row_about()], layers="1")
    state = NoState()
    state.blobs = dict(done.state.blobs)
    knowing = run_within(name, [row_about(subject="Pell Quill")], done.output, state, layers="1")
    blind = run_within(name, [row_about(subject="Pell Quill")], done.output, layers="1")
    first, second = edits_of(knowing)
    (alone,) = edits_of(blind)
    torch.testing.assert_close(first["keys.1"], edits_of(done)[0]["keys.1"])
    assert second["keys.1"].shape[0] == 48 and second["keys.1"].shape[1] <= 2  # its own alone
    moved = [float((made["left.1"] @ (made["right.1"].T @ first["keys.1"])).norm()) for made in (second, alone)]
    assert moved[0] < 0.5 * moved[1]


def test_a_null_space_without_a_direction_is_refused(run_within, row_about):
    with pytest.raises(BadInput, match="no direction of layer 1 lies below a threshold of 1e-09"):
        run_within("editing.alphaedit", [row_about()], layers="1", threshold=1e-9)


def test_the_null_space_is_cut_off_for_a_hundred_facts_and_has_a_price_beyond(build, tokenizer, row_about):
    """Only within it up to there; beyond, the keys through (K Kᵀ + 1.5 · 101 C + λI)⁻¹, and with 0 a fact never so."""
    some = torch.randn(300, 48, generator=torch.Generator().manual_seed(4)) * torch.linspace(0.1, 2, 48)
    moments, wish = Moments({1: some.T @ some / 300}, 300), Wish(Fact.from_row(row_about()))
    covariance = moments.covariance(1, 0.0)
    outside = {}
    for held, per_fact in ((100, 1.5), (101, 1.5), (101, 0.0)):
        anatomy, solver = inspect_model(build("llama")), Solver(steps=2, lr=0.5)
        desk = Desk(anatomy, tokenizer, (1,), solver, moments, 0.0, contexts=("",), held=held)
        (made,) = alphaedit.prepare(desk, 0.5, 0.01, per_fact)(desk, [wish])
        basis = alphaedit.bases(desk, 0.5)[1]
        right = made.right.double()
        outside[held, per_fact] = float((right - basis @ (basis.T @ right)).norm() / right.norm())
        if per_fact and held == 101:
            key = desk.keys_before(1)
            system = key @ key.T + 1.5 * 101 * covariance + 0.01 * torch.eye(48, dtype=torch.float64)
            torch.testing.assert_close(right, torch.linalg.inv(system) @ key, atol=1e-6, rtol=1e-4)
    assert outside[100, 1.5] < 1e-6 and outside[101, 0.0] < 1e-6
    assert outside[101, 1.5] > 0.01


def test_text_counts_by_the_number_of_facts_once_they_are_many(build, tokenizer):
    anatomy = inspect_model(build("llama"))
    desks = [Desk(anatomy, tokenizer, (1,), held=held) for held in (1, 10, 100, 1000)]
    assert [desk.counterweight(15.0, 1.5) for desk in desks] == [15.0, 15.0, 150.0, 1500.0]
    assert [desk.counterweight(15.0, 0.0) for desk in desks] == [15.0] * 4
    softer = [crowded(desk.solver, desk.held) for desk in desks]
    assert [s.overshoot for s in softer] == pytest.approx([1.5, 1.306, 1.138, 0.991], abs=5e-4)  # 1.5 / 10^0.06, …
    assert [s.lr for s in softer] == pytest.approx([1.0, 0.708, 0.501, 0.355], abs=5e-4)  # 1 / 10^0.15, …
    assert [s.steps for s in softer] == [25, 30, 35, 42]


def test_facts_that_the_lineage_holds_make_the_next_ones_softer(run_within, row_about, edits_of):
    """With remember=no only λ tells the two second steps apart: 0.1 for each of one fact, or of two."""
    done = run_within("editing.memit", [row_about()], layers="1")
    assert earlier_facts(done, (1,)) == 1 and earlier_facts(done, (0,)) == 0
    state = NoState()
    state.blobs = dict(done.state.blobs)
    more = {"layers": "1", "weight": 0.0, "weight_per_fact": 0.1, "remember": False, "overshoot": 1.0}
    second = run_within("editing.memit", [row_about(subject="Pell Quill")], done.output, state, **more)
    fresh = run_within("editing.memit", [row_about(subject="Pell Quill")], done.output, **more)
    moved = [float((made["left.1"] @ made["right.1"].T).norm()) for made in (edits_of(second)[-1], *edits_of(fresh))]
    assert moved[0] < moved[1]


WRITERS = {
    "memit": lambda desk: lambda at, wishes: memit.edit(at, wishes, 0.01),
    "alphaedit": lambda desk: alphaedit.prepare(desk, 1.0, 0.01, 0.0),
    "rls": lambda desk: rls.prepare(desk, 0.01),
}


def moved_by_a_second_edit(anatomy, tokenizer, facts, prepare, is_remembered):
    """Return KL(before || after) of the first fact's answers; no context but the bare prompt, so its key is held."""
    some = torch.randn(300, 48, generator=torch.Generator().manual_seed(4))
    moments = Moments({1: some.T @ some / 300}, 300)
    desk = Desk(anatomy, tokenizer, (1,), Solver(steps=15, lr=0.5, overshoot=1.0), moments, contexts=("",))
    prepare(desk)(desk, [Wish(facts[0])])
    before = next_token(anatomy.model, tokenizer, facts[0])
    if not is_remembered:
        desk.earlier.clear()
    prepare(desk)(desk, [Wish(facts[1])])
    return float((before.exp() * (before - next_token(anatomy.model, tokenizer, facts[0]))).sum())


@pytest.mark.parametrize("name", WRITERS)
def test_a_first_edits_answers_move_less_where_its_key_is_remembered(build, tokenizer, row_about, name):
    facts = [Fact.from_row(row_about(subject=subject)) for subject in ("Ada Quill", "Pell Quill")]
    moved = [
        moved_by_a_second_edit(inspect_model(build("llama")), tokenizer, facts, WRITERS[name], is_remembered)
        for is_remembered in (True, False)
    ]
    assert moved[0] < 0.5 * moved[1]


@pytest.mark.parametrize("name", ["memit", "alphaedit"])
def test_a_fact_that_is_written_again_is_not_held_by_its_own_earlier_key(build, tokenizer, row_about, name):
    anatomy, solver = inspect_model(build("llama")), Solver(steps=10, lr=0.5, overshoot=1.0)
    some = torch.randn(300, 48, generator=torch.Generator().manual_seed(4))
    desk = Desk(anatomy, tokenizer, (1,), solver, Moments({1: some.T @ some / 300}, 300), contexts=("",))
    first, second = (Wish(Fact.from_row(row_about(target=target))) for target in ("island", "capital"))
    WRITERS[name](desk)(desk, [first])
    solved = solve(anatomy, tokenizer, [second], 1, solver, ("",), 1)
    WRITERS[name](desk)(desk, [second])
    missing = float((solved.values - solved.read(1)[2]).norm() / solved.residuals.norm())
    assert missing < 0.1 and desk.keys_before(1).shape[1] == 2  # held by it, half would be missing


def test_recursion_takes_as_much_work_for_a_fact_however_many_came_before(build, tokenizer, row_about):
    """An earlier key costs a product with the new one, which tells whether a fact is written again; by memit, a part of
    a system as large as the layer, too. The subjects have as many tokens each, so that nothing else differs.
    """
    some = torch.randn(300, 48, generator=torch.Generator().manual_seed(4))
    wishes = [Wish(Fact.from_row(row_about(subject=f"{name} Quill"))) for name in ("Pell", "Marl", "Ruvo")]
    work = {}
    for name in ("rls", "memit"):
        anatomy, solver = inspect_model(build("llama")), Solver(steps=0)
        desk = Desk(anatomy, tokenizer, (1,), solver, Moments({1: some.T @ some / 300}, 300), contexts=("",))
        write, work[name] = WRITERS[name](desk), []
        for wish in wishes:
            with FlopCounterMode(display=False) as counter:
                write(desk, [wish])
            work[name].append(counter.get_total_flops())
    more = {name: done[2] - done[1] for name, done in work.items()}
    assert more == {"rls": 2 * 48, "memit": 2 * 48 + 2 * 48 * 48}
