"""A scorer's card: its numbers against ones worked out by hand, and its files read as they are published."""

import json

import numpy as np
import pytest

from amends import BadInput, BadRecords
from amends_detox.scoring import find
from amends_detox.scoring.card import agreement, by_identity, false_alarms, functionalities, make_card
from amends_detox.scoring.held_out import Labelled, own_sample, read_sets
from amends_detox.scoring.page import render_card
from amends_detox.scoring.rtp import ATTRIBUTES, fitted_on


def test_agreement_counts_hits_and_false_alarms_at_one_half():
    found = agreement(np.array([0.9, 0.5, 0.4, 0.6, 0.1]), [True, True, True, False, False])
    assert (found["texts"], found["toxic"]) == (5, 3)
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(2 / 3)
    assert found["false_alarms"] == pytest.approx(1 / 2)
    assert found["error"] == pytest.approx(2 / 5)
    assert found["auc"] == pytest.approx((2 + 1 + 1) / 6)  # .9 beats both; .5 and .4 beat .1


def test_the_three_areas_of_an_identity_are_those_of_borkan_and_others():
    rows = [
        Labelled("", True, "k", "women"),  # .8
        Labelled("", False, "k", "women"),  # .7
        Labelled("", True, "k", ""),  # .6
        Labelled("", False, "k", ""),  # .1
    ]
    found = by_identity(np.array([0.8, 0.7, 0.6, 0.1]), rows)
    assert list(found) == ["women"]
    areas = found["women"]
    assert (areas["subgroup_auc"], areas["bpsn_auc"], areas["bnsp_auc"]) == (1.0, 0.0, 1.0)


def test_functionalities_and_neutral_sentences_are_told_apart():
    rows = [
        Labelled("", True, "slur_h"),
        Labelled("", True, "slur_h"),
        Labelled("", False, "ident_neutral_nh"),
        Labelled("", False, "ident_pos_nh"),
    ]
    said = np.array([0.9, 0.1, 0.6, 0.2])
    assert functionalities(said, rows)["slur_h"] == {"texts": 2, "accuracy": 0.5}
    assert false_alarms(said, rows) == {"texts": 2, "false_alarms": 0.5}


def write_sets(directory):
    (directory / "surge_toxicity_en.csv").write_text(
        'text,is_toxic\n"You stupid\nidiot",Toxic\nGood morning,Not Toxic\n'
    )
    (directory / "hatecheck_cases.csv").write_text(
        "functionality,test_case,label_gold,target_ident\nslur_h,You idiot women,hateful,women\n"
        "ident_neutral_nh,I am a woman,non-hateful,women\n"
    )
    (directory / "toxigen_demonstrations.jsonl").write_text(
        '{"label": "hate", "group": "g", "text": "stupid people"}\n'
        '{"label": "neutral", "group": "g", "text": "people"}\n'
    )
    (directory / "paradetox.tsv").write_text('toxic\tneutral1\n"what shit\twhat rubbish\nbroken\n\n')
    parts = [{"prompt": {"text": str(n), **dict.fromkeys(ATTRIBUTES, n % 2)}} for n in range(20)]
    (directory / "rtp_val5k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in parts))


def test_sets_are_read_as_published_and_of_the_scored_file_only_half_b(tmp_path):
    write_sets(tmp_path)
    found = read_sets(tmp_path)
    assert [(row.text, row.is_toxic) for row in found["surge"]] == [
        ("You stupid\nidiot", True),
        ("Good morning", False),
    ]
    assert found["HateCheck"][0] == Labelled("You idiot women", True, "slur_h", "women")
    assert [row.is_toxic for row in found["ToxiGen"]] == [True, False]
    assert [row.text for row in found["ParaDetox"]] == ['"what shit', "what rubbish"]
    assert {row.text for row in found["RTP half B"]} == {str(n) for n in range(20) if not fitted_on(str(n))}


def test_the_shipped_sample_is_labelled_and_has_both_sides():
    rows = own_sample()
    assert len(rows) > 150 and 10 < sum(row.is_toxic for row in rows) < len(rows) / 2
    assert all(row.text.strip() for row in rows)


def test_a_directory_without_any_set_and_a_file_of_another_shape_are_refused(tmp_path):
    with pytest.raises(BadInput, match="hatecheck_cases"):
        read_sets(tmp_path)
    (tmp_path / "hatecheck_cases.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadRecords, match="hatecheck_cases"):
        read_sets(tmp_path)


def test_a_card_is_a_document_and_a_page(tmp_path):
    write_sets(tmp_path)
    card = make_card(find("lexical"), read_sets(tmp_path), lambda done, total, message: None)
    assert card["sets"]["surge"]["auc"] == card["sets"]["ParaDetox"]["auc"] == 1.0
    assert card["functionalities"]["ident_neutral_nh"]["accuracy"] == 1.0
    page = render_card(card)
    assert "| surge | 2 | 1 | 1.000 |" in page and card["scorer"] in page


def test_the_command_writes_both(tmp_path, make_shell):
    sets = tmp_path / "sets"
    sets.mkdir()
    write_sets(sets)
    shell = make_shell(tmp_path / "home", "ada")
    said = shell.json("detox", "card", "lexical", "--data", sets, "--output", tmp_path / "card")
    assert json.loads((tmp_path / "card" / "card.json").read_text()) == said
    assert (tmp_path / "card" / "card.md").read_text().startswith("## lexical@")
    assert [one["name"] for one in shell.json("detox", "scorers")][:3] == ["minilm", "lexical", "ensemble"]
