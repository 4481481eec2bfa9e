"""Begin with some of the teacher's layers, and bring their hidden states to where the teacher's are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from amends import BadInput, ModelVersion, Records, Task
from amends_distillation.learning import Course, Settings, learn, learners, seed_of
from amends_distillation.logit import Matching, mixed
from amends_distillation.matching import distance, fresh_maps, partners, states_once
from amends_distillation.pairs import Pair, Shape, open_pair
from amends_distillation.states import caught
from amends_distillation.students import chosen_layers
from amends_distillation.targets import Asked, likeliest_once, rounds


@dataclass(frozen=True)
class Stages:
    """What is matched, and for how long.

    Args:
        matched: How many layers are compared; 0 for all.
        share: Share of the steps that match states alone, without the head; the others match distributions as well.
        weight: Of the states' distance beside the distributions' divergence.
    """

    matched: int
    share: float
    weight: float

    def __post_init__(self) -> None:
        """Refuse what matches nothing.

        Raises:
            BadInput: A number is out of its range.
        """
        if not 0 <= self.share <= 1 or self.weight < 0:
            raise BadInput("give a share from 0 to 1, and a weight of 0 or more")


def distil(
    task: Task,
    teacher: ModelVersion,
    text: Records,
    shape: Shape,
    settings: Settings,
    stages: Stages,
    matching: Matching,
) -> None:
    """Write a student whose layers were brought to the teacher's states, and then to its distributions.

    Raises:
        BadInput: Teacher and student do not fit, or a parameter cannot be used.
        BadRecords: There is no text.
    """
    pair = open_pair(task, teacher, text, shape, settings.length)
    asking = rounds(pair.ids)
    partner = _partners(task, pair, shape, stages.matched)
    maps = _maps(task, pair, partner)
    weights = learners(pair.student, settings.embeddings) | {f"map/{at}": one for at, one in maps.items()}
    bound = {**pair.named, **asdict(shape), **asdict(stages), **asdict(matching)}
    course = Course(task, weights, len(pair.ids), settings, bound, 2 * asking)
    alone, total = round(stages.share * course.steps), course.before + course.steps
    asked = Asked(matching.kept if alone < course.steps else 0, matching.temperature)
    states = states_once(task, pair, partner, asked, total)
    known = likeliest_once(task, pair, asked, total, asking) if asked.kept else None
    del pair.teacher  # what it had to say is known

    def loss_of(places: Tensor, step: int) -> Tensor:
        ids = pair.ids[places]
        with caught(pair.student, list(partner)) as given:
            last = pair.student.base_model(input_ids=ids, use_cache=False).last_hidden_state
        apart = distance(given, states, places, maps)
        if known is None or step < alone:
            return apart
        logits = pair.student.get_output_embeddings()(last[:, :-1])
        return mixed(known.at(places), logits, ids[:, 1:], matching) + stages.weight * apart

    pair.student.train()
    learn(course, loss_of)
    task.save(pair.student.eval(), pair.tokenizer)


def _maps(task: Task, pair: Pair, partner: Mapping[int, int]) -> dict[int, Tensor]:
    """Return the maps that learn beside the student and are thrown away."""
    wide, own = pair.teacher.config.hidden_size, pair.student.config.hidden_size
    drawn = fresh_maps(partner, wide, own, seed_of(task.seed, "maps"))
    return {layer: one.to(task.device).requires_grad_(True) for layer, one in drawn.items()}


def _partners(task: Task, pair: Pair, shape: Shape, matched: int) -> dict[int, int]:
    depth, deep = pair.student.config.num_hidden_layers, pair.teacher.config.num_hidden_layers
    is_cut = task.source is None and shape.start != "random"
    return partners(depth, deep, chosen_layers(deep, depth, shape.start) if is_cut else [], matched)
