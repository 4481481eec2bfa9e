"""Target vectors: the gradient that is followed is the loss', groups change nothing, and every search ends."""

import pytest
import torch

from amends import AmendsError
from amends_editing.erasing import BESIDE, STRANGERS, wanted_distribution, wish_to_erase
from amends_editing.facts import Fact, row_of, rows_of
from amends_editing.structure import first_of, inspect_model
from amends_editing.tails import prepare
from amends_editing.targets import Solver, Wish, _Group, solve

CONTEXTS = ("", "It was late. ", "As far as I know, ", "She read: ")
PEOPLE = ("Ada Quill", "Pell Ostrin", "Ruvo Tanniker")
LAYER = 1


@pytest.fixture
def facts(row_about):
    return [Fact.from_row(row_about(subject=name)) for name in PEOPLE]


@pytest.fixture
def long_facts(row_about):
    """Return facts whose subjects are followed by more of the prompt, and answers of several tokens."""
    towns = zip(PEOPLE, ("Brenn", "Sorrel", "Hollin"), strict=True)
    return [Fact.from_row(row_about(subject=name, prompt=f"{name} lives in", target=town)) for name, town in towns]


def group_of(anatomy, tokenizer, wishes, solver, contexts=CONTEXTS):
    answers = [wish.fact.target if wish.wanted is None else "" for wish in wishes]
    rows = [rows_of(tokenizer, wish.fact, answer, contexts) for wish, answer in zip(wishes, answers, strict=True)]
    return _Group(anatomy, tokenizer, wishes, rows, LAYER, solver, None)


@torch.no_grad()
def answer_logp(anatomy, tokenizer, fact, delta, context=""):
    """Return the mean log-probability of the answer's tokens by one plain pass with delta put in by a hook."""
    row = row_of(tokenizer, fact.prompt, fact.subject, fact.target, context)

    def move(_, __, out):
        found = (out[0] if isinstance(out, tuple) else out).clone()
        found[0, row.subject] += delta
        return (found, *out[1:]) if isinstance(out, tuple) else found

    hook = anatomy.blocks[LAYER].register_forward_hook(move)
    tokens = torch.tensor([row.tokens])
    logp = anatomy.model(input_ids=tokens, use_cache=False).logits[0].log_softmax(-1)
    hook.remove()
    first = len(row.tokens) - row.targets
    return float(logp[torch.arange(first - 1, len(row.tokens) - 1), list(row.tokens[first:])].mean())


@pytest.mark.parametrize("verb", ["modify", "erase"])
def test_the_gradient_is_that_of_the_loss(build, tokenizer, row_about, verb):
    anatomy = inspect_model(build("gpt2").double())  # it computes in whatever its weights are; Llama's norm does not
    some = [Fact.from_row(row_about(verb, name, prompt=f"{name} lives in")) for name in PEOPLE[:2]]
    wishes = [Wish(fact, None if verb == "modify" else wanted_of(anatomy, tokenizer, fact)) for fact in some]
    group = group_of(anatomy, tokenizer, wishes, Solver(contexts_per_step=1))
    everyone = torch.arange(2)
    delta = torch.randn(2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda moved: group._loss(moved, everyone, 1)[0], (delta,))


def wanted_of(anatomy, tokenizer, fact):
    return wanted_distribution(anatomy, tokenizer, fact, CONTEXTS)


@torch.no_grad()
def test_the_loss_is_the_papers_with_the_answers_logp_by_a_plain_pass(build, tokenizer, long_facts):
    anatomy, solver = inspect_model(build("llama")), Solver(contexts_per_step=1)
    group = group_of(anatomy, tokenizer, [Wish(long_facts[0])], solver)
    delta = torch.linspace(-1, 1, 32)[None]
    loss, likely = group._loss(delta, torch.arange(1), step=0)
    logp = sum(answer_logp(anatomy, tokenizer, long_facts[0], delta[0], context) for context in CONTEXTS[:2]) / 2
    essence = row_of(tokenizer, f"{long_facts[0].subject} is a", long_facts[0].subject)
    tails = prepare(anatomy, [essence], LAYER)
    before, hidden = anatomy.logits(tails.run(tails.hidden))[0, -1].log_softmax(-1), tails.hidden.clone()
    hidden[0, 0] += delta[0]
    now = anatomy.logits(tails.run(hidden))[0, -1].log_softmax(-1)
    drift = (before.exp() * (before - now)).sum()
    size = delta.pow(2).sum() / group.here.pow(2).sum()
    torch.testing.assert_close(loss, -logp + solver.kl_weight * drift + solver.decay * size)
    assert float(likely[0].log()) == pytest.approx(logp, abs=1e-4)


def test_solving_in_a_group_gives_what_solving_alone_gives(build, tokenizer, long_facts):
    anatomy, solver = inspect_model(build("llama")), Solver(steps=6, lr=0.2)
    together = solve(anatomy, tokenizer, [Wish(fact) for fact in long_facts], LAYER, solver, CONTEXTS)
    for number, fact in enumerate(long_facts):
        alone = solve(anatomy, tokenizer, [Wish(fact)], LAYER, solver, CONTEXTS)
        torch.testing.assert_close(together.residuals[number], alone.residuals[0], atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(together.values[number], alone.values[0], atol=2e-3, rtol=2e-3)
        assert together.steps[number] == alone.steps[0]


def test_the_answer_becomes_likely_where_a_plain_pass_reads_it(build, tokenizer, facts):
    anatomy = inspect_model(build("llama"))
    solved = solve(anatomy, tokenizer, [Wish(fact) for fact in facts], LAYER, Solver(steps=30, decay=0.1), CONTEXTS)
    for number, fact in enumerate(facts):
        before = answer_logp(anatomy, tokenizer, fact, torch.zeros(32))
        assert answer_logp(anatomy, tokenizer, fact, solved.residuals[number]) > before + 2


def test_a_fact_stops_once_its_answer_passes_the_threshold(build, tokenizer, facts):
    anatomy = inspect_model(build("llama"))
    wishes = [Wish(fact) for fact in facts]
    solved = solve(anatomy, tokenizer, wishes, LAYER, Solver(steps=40, lr=0.3, stop=0.05, decay=0.1), CONTEXTS)
    assert all(0 < steps < 40 for steps in solved.steps) and all(likely >= 0.05 for likely in solved.likely)
    at_once = solve(anatomy, tokenizer, wishes, LAYER, Solver(stop=1e-12), CONTEXTS)
    assert at_once.steps == [0, 0, 0] and not at_once.residuals.any()


@pytest.mark.parametrize("per_coordinate", [False, True])
def test_steps_are_adam_s_with_one_second_moment_for_a_fact_or_for_each_coordinate(
    build, tokenizer, facts, per_coordinate
):
    """Kingma and Ba, 2015, algorithm 1, written out; with 0.8 and 0.95 for β where a fact has one second moment."""
    anatomy, solver = inspect_model(build("llama")), Solver(lr=0.01, clamp=1e9, per_coordinate=per_coordinate)
    rows = [rows_of(tokenizer, fact, fact.target, CONTEXTS) for fact in facts]
    group = _Group(anatomy, tokenizer, [Wish(fact) for fact in facts], rows, LAYER, solver, None)
    one, two = (0.9, 0.999) if per_coordinate else (0.8, 0.95)
    first = second = wanted = torch.zeros(len(facts), anatomy.width, dtype=torch.float64)
    random = torch.Generator().manual_seed(3)
    for step in range(1, 5):
        gradient = torch.randn(wanted.shape, generator=random)
        group._move(torch.arange(len(facts)), gradient, step)
        exact = gradient.double()
        squared = exact**2 if per_coordinate else (exact**2).sum(1, keepdim=True) / anatomy.width
        first, second = one * first + (1 - one) * exact, two * second + (1 - two) * squared
        wanted = wanted - 0.01 * (first / (1 - one**step)) / ((second / (1 - two**step)).sqrt() + 1e-8)
        torch.testing.assert_close(group.delta.double(), wanted, atol=1e-6, rtol=1e-4)


def test_no_fact_moves_further_than_the_clamp(build, tokenizer, facts):
    anatomy, solver = inspect_model(build("llama")), Solver(steps=5, lr=5.0, clamp=0.5)
    solved = solve(anatomy, tokenizer, [Wish(fact) for fact in facts], LAYER, solver, CONTEXTS)
    here = (solved.values - solved.residuals).norm(dim=1)
    assert (solved.residuals.norm(dim=1) <= 0.5 * here * (1 + 1e-5)).all()
    torch.testing.assert_close(solved.residuals.norm(dim=1), 0.5 * here)


def test_a_probability_that_is_no_number_is_an_error(build, tokenizer, facts):
    anatomy = inspect_model(build("llama"))
    anatomy.projections[3].weight[0, 0] = torch.nan
    with pytest.raises(AmendsError, match="NaN or infinite"):
        solve(anatomy, tokenizer, [Wish(facts[0])], LAYER, Solver(), CONTEXTS)


def test_a_gradient_that_is_no_number_is_an_error(build, tokenizer, facts):
    anatomy = inspect_model(build("llama"))
    group = group_of(anatomy, tokenizer, [Wish(facts[0])], Solver())
    group.here.zero_()  # nothing to weigh delta against: 0 / 0 in the decay alone, while the answer stays a number
    with pytest.raises(AmendsError, match="NaN or infinite"):
        group.search()


def test_an_erasure_comes_closer_to_what_is_said_of_strangers(build, tokenizer, row_about):
    anatomy = inspect_model(build("llama"))
    fact = Fact.from_row(row_about("erase"))
    wish = Wish(fact, wanted_of(anatomy, tokenizer, fact))
    start = solve(anatomy, tokenizer, [wish], LAYER, Solver(steps=0), CONTEXTS[:1])
    solved = solve(anatomy, tokenizer, [wish], LAYER, Solver(steps=25, lr=0.1, stop=0.999, decay=0.01), CONTEXTS[:1])
    assert solved.likely[0] > start.likely[0]
    before, after = -torch.tensor([start.likely[0], solved.likely[0]]).log()
    assert after < before / 2  # KL(wanted || now), in nats


@torch.no_grad()
def strangers_after(anatomy, tokenizer, context, names, answer):
    """Return each stranger's distribution at the prompt's end and log-probabilities of the answer's tokens."""
    wanted = tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
    found = []
    for name in names:
        tokens = tokenizer(f"{context}The home of {name}", add_special_tokens=False)["input_ids"]
        logp = anatomy.model(input_ids=torch.tensor([tokens + wanted]), use_cache=False).logits[0].log_softmax(-1)
        levels = [logp[len(tokens) - 1 + place, token] for place, token in enumerate(wanted)]
        found.append((logp[len(tokens) - 1].exp(), torch.stack(levels)))
    return found


def test_what_an_erasure_wants_is_the_mean_over_strangers(build, tokenizer, row_about):
    anatomy, fact = inspect_model(build("llama")), Fact.from_row(row_about("erase"))
    wish = wish_to_erase(anatomy, tokenizer, fact, CONTEXTS)
    bare = strangers_after(anatomy, tokenizer, "", STRANGERS, fact.old)
    chosen = [STRANGERS[i % len(STRANGERS)] for i in range(BESIDE * (len(CONTEXTS) - 1))]
    rest = [
        one for turn, context in enumerate(CONTEXTS[1:])
        for one in strangers_after(anatomy, tokenizer, context, chosen[turn * BESIDE : (turn + 1) * BESIDE], fact.old)
    ]  # fmt: skip
    for number, found in enumerate([bare] + [rest] * (len(CONTEXTS) - 1)):
        mean = [torch.stack(parts).mean(0) for parts in zip(*found, strict=True)]
        torch.testing.assert_close(wish.wanted[number], mean[0], atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(wish.levels[number], mean[1], atol=1e-4, rtol=1e-4)


def test_an_erased_answer_comes_to_the_level_of_strangers_and_not_below(build, tokenizer, row_about):
    """The squared difference of log-probabilities pulls from both sides: a level above, and one below, is reached."""
    anatomy, fact = inspect_model(build("llama")), Fact.from_row(row_about("erase"))
    wish = wish_to_erase(anatomy, tokenizer, fact, CONTEXTS[:1])
    row = row_of(tokenizer, fact.prompt, fact.subject, fact.old)
    solver = Solver(steps=100, lr=0.1, stop=0.9999, decay=0.0)

    def level(value=None):
        def put(_, __, out):
            hidden = first_of(out).clone()
            hidden[0, row.subject] = hidden[0, row.subject] if value is None else value
            return hidden if isinstance(out, torch.Tensor) else (hidden, *out[1:])

        hook = anatomy.blocks[LAYER].register_forward_hook(put)
        with torch.no_grad():
            logp = anatomy.model(torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        hook.remove()
        places = range(len(row.tokens) - row.targets, len(row.tokens))
        return torch.stack([logp[place - 1, row.tokens[place]] for place in places])

    for shift in (1.0, -1.0):
        wanted = level() + shift
        moved = Wish(fact, wish.wanted, wanted[None])
        solved = solve(anatomy, tokenizer, [moved], LAYER, solver, CONTEXTS[:1], first=0)
        assert (level(solved.values[0]) - wanted).abs().mean() < 0.4


def test_erasures_and_other_verbs_are_solved_side_by_side(build, tokenizer, facts, row_about):
    anatomy, solver = inspect_model(build("llama")), Solver(steps=4, lr=0.2)
    erased = Fact.from_row(row_about("erase", PEOPLE[1]))
    wishes = [Wish(facts[0]), Wish(erased, wanted_of(anatomy, tokenizer, erased)), Wish(facts[2])]
    together = solve(anatomy, tokenizer, wishes, LAYER, solver, CONTEXTS, first=0)
    for number, wish in enumerate(wishes):
        alone = solve(anatomy, tokenizer, [wish], LAYER, solver, CONTEXTS)
        torch.testing.assert_close(together.residuals[number], alone.residuals[0], atol=2e-3, rtol=2e-3)
    keys, _, out = together.read(LAYER)
    assert keys.shape == (48, 3)
    torch.testing.assert_close(out, together.values - together.residuals, atol=1e-4, rtol=1e-4)


def test_keys_are_means_over_the_contexts_and_those_of_bare_prompts(build, tokenizer, facts):
    anatomy = inspect_model(build("llama"))
    solved = solve(anatomy, tokenizer, [Wish(facts[0])], LAYER, Solver(steps=0), CONTEXTS, first=LAYER)
    keys, bare, _ = solved.read(LAYER)
    rows = rows_of(tokenizer, facts[0], facts[0].target, CONTEXTS)
    each = [prepare(anatomy, [row], LAYER, 0).leading.onward(LAYER)[0][LAYER][0].double() for row in rows]
    torch.testing.assert_close(keys[:, 0], torch.stack(each).mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bare[:, 0], each[0], atol=1e-5, rtol=1e-4)
