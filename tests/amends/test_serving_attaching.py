"""A part beside the weights is looked for in the source that a task was given, and nowhere else."""

from amends import Task
from amends.serving.attaching import earlier


def test_without_a_source_no_part_is_found_though_one_lies_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "attachments" / "grace").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert earlier(Task(tmp_path / "work", 0), "grace") is None
    assert earlier(Task(tmp_path / "work", 0, source=tmp_path), "grace") == tmp_path / "attachments" / "grace"
