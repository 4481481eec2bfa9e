"""Find out where a version keeps what it knows, and which layers and weight suit its edits; what `commands` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amends import BadInput
from amends.cli.tables import Table
from amends.governor.models.asking import served_version, verified_tree
from amends.governor.workspace import Workspace
from amends.operation.files import load_model
from amends.scheduler.steady import steady
from amends_editing import holding, proposals
from amends_editing.covariance import read_moments
from amends_editing.effects import Effects, Place, trace_facts
from amends_editing.facts import Fact
from amends_editing.heatmap import text_maps
from amends_editing.knowing import Known, known_facts
from amends_editing.proposals import Proposal
from amends_editing.structure import Anatomy, inspect_model
from amends_editing.sweeping import Sweep, Trial, candidate_layers
from amends_editing.targets import Progress, Solver

FEWEST = 5  # facts below which an average says little
MOST_TRACED = 24
MOST_SWEPT = 12
TOKENS = 30_000  # of text, for the sweep: enough to compare sets of layers
AT_ONCE = 64  # facts that are asked before it is looked whether they are enough

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Traced:
    """What was found; it says nothing about single facts.

    Args:
        effects: Where the facts are carried.
        trials: Sets of layers that were tried, the best first; empty without text.
        proposal: What the methods take by default from now on, or None.
        asked: How many facts were asked.
    """

    effects: Effects
    trials: Sequence[Trial]
    proposal: Proposal | None
    asked: int

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        effects = self.effects
        maps = {"blocks": effects.blocks.tolist(), "mlps": effects.mlps.tolist(), "places": list(Place)}
        counts = {"asked": self.asked, "traced": effects.facts}
        means = {"clean": effects.clean, "corrupted": effects.corrupted, "peak": effects.peak}
        trials = [trial.to_json() for trial in self.trials]
        return {**counts, **means, **maps, "trials": trials, "proposal": self.proposal}

    def parts(self) -> list[str | Table]:
        """Return it as sentences, maps and a table."""
        effects = self.effects
        shown: list[str | Table] = [
            f"of {self.asked} facts asked, {effects.facts} known ones were traced; with noise on the subject, the "
            f"answers' mean probability falls from {effects.clean:.3f} to {effects.corrupted:.3f}",
            *text_maps(effects),
            f"MLPs bring most back at the subject's last token around layer {effects.peak}",
        ]
        return [*shown, *self._tried()]

    def _tried(self) -> list[str | Table]:
        if not self.trials:
            return ["no layers were tried and nothing is proposed: that needs text (--text FILE)"]
        columns = ("layers", "weight", "efficacy", "paraphrase", "neighbourhood", "text moved (nats)", "score")
        rows = [
            (",".join(map(str, one.layers)), one.weight, one.efficacy, one.paraphrase, one.neighbourhood, one.drift,
             one.score)
            for one in self.trials
        ]  # fmt: skip
        if self.proposal is None:
            return [
                Table(columns, rows),
                "no trial changed the facts without moving too much else; nothing is proposed",
            ]
        layers = ",".join(map(str, self.proposal.layers))
        said = f"from now on edits of this model take layers={layers} and weight={self.proposal.weight:g} by default"
        return [Table(columns, rows), said]


def trace(workspace: Workspace, model: str, rows: Rows, seed: int, texts: Rows = ()) -> Traced:
    """Trace facts that a version knows; with text, also try a few sets of layers, and keep the best as the default.

    Args:
        workspace: Where the version is and the proposal goes.
        model: `model@alias`, `model@number`, or `model` for its champion, or its newest version where it has none.
        rows: Prepared rows; `old` is what the version may know.
        seed: The only source of randomness.
        texts: Rows of running text.

    Raises:
        BadInput: The version knows too few of the facts, or too few of those have a target to try edits with.
        Denied: Who acts may not change models.
    """
    workspace.require_role(*holding.SEES)
    version = served_version(workspace, model)
    tree = verified_tree(workspace, version.digest)
    with steady(workspace.settings.cpus, seed, torch_needed=True):
        loaded, tokenizer = load_model(tree)
        anatomy = inspect_model(loaded)
        known, asked = _known(anatomy, tokenizer, [Fact.from_row(row) for row in rows])
        swept = _swept(known) if texts else []
        effects = trace_facts(anatomy, known, seed, progress=workspace.bar)
        trials = sweep(anatomy, tokenizer, swept, effects.peak, texts, workspace.bar) if texts else []
    proposal = None
    if trials and trials[0].score > 0:
        best, weights = trials[0], proposals.weights_digest(workspace, version.digest)
        proposal = Proposal(weights, best.layers, effects.peak, best.weight, best.score, len(swept), seed)
        proposals.store(workspace, proposal)
    return Traced(effects, trials, proposal, asked)


def _known(anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact]) -> tuple[list[Known], int]:
    """Return the first facts of a file that the model knows, enough to trace, and how many were asked for them."""
    known: list[Known] = []
    asked = 0
    while asked < len(facts) and len(known) < MOST_TRACED:
        some = facts[asked : asked + AT_ONCE]
        known += known_facts(anatomy, tokenizer, some)
        asked += len(some)
    if len(known) < FEWEST:
        raise BadInput(
            f"the model knows {len(known)} of these {len(facts)} facts, and {FEWEST} are needed; give facts whose "
            "old answer it finds likelier than their target"
        )
    return known[:MOST_TRACED], asked


def _swept(known: Sequence[Known]) -> list[Fact]:
    found = [one.fact for one in known if one.fact.target.strip()][:MOST_SWEPT]
    if len(found) < FEWEST:
        raise BadInput(
            f"{len(found)} of the facts that the model knows have a target, and {FEWEST} are needed to try edits; give "
            "more with a target, or leave out --text"
        )
    return found


def sweep(
    anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact], peak: int, texts: Rows, progress: Progress
) -> list[Trial]:
    """Try edits of facts in sets of layers around a peak; the model is given back as it was."""
    sets = candidate_layers(anatomy, peak)
    layers = sorted({layer for some in sets for layer in some})
    passages = (str(row.get("text") or row.get("prompt") or "") for row in texts)
    moments = read_moments(anatomy, tokenizer, passages, layers, TOKENS, progress)
    return Sweep(anatomy, tokenizer, facts, moments, Solver()).run(sets, progress)
