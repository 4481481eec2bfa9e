"""Documents of every kind are read as text; one that cannot be is one sentence that names it and the way out."""

from __future__ import annotations

import json

import pytest

from amends import BadInput
from amends_rag import documents as module
from amends_rag.documents import read_documents


def write(folder, name, content):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def pdf_of(text: str) -> bytes:
    """Return a PDF of one page that says something."""
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, len(made))
    return made + b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1) + table + end


def test_a_folder_is_read_in_the_order_of_its_names_and_each_kind_as_text(tmp_path):
    write(tmp_path, "docs/b.md", "# Bees\n\nThey hum.")
    write(tmp_path, "docs/a.txt", "\ufeffLight")
    write(tmp_path, "docs/deep/c.html", "<title>Rye</title><script>no()</script><p>Bakers <b>bake</b> &amp; sell.</p>")
    write(tmp_path, "docs/picture.png", b"\x89PNG")
    found = list(read_documents([tmp_path / "docs"]))
    assert [one.label for one in found] == ["a.txt", "b.md", "deep/c.html"]
    assert found[0].text == "Light" and found[2].text.split() == ["Rye", "Bakers", "bake", "&", "sell."]


def test_a_pdf_is_read_page_by_page(tmp_path):
    (found,) = read_documents([write(tmp_path, "a.pdf", pdf_of("Ada keeps the light"))])
    assert found.text.strip() == "Ada keeps the light"


def test_a_line_of_json_is_a_document_with_its_people(tmp_path):
    rows = [{"id": "x", "text": "Bees.", "subjects": ["Tobin Hale"]}, {"text": "Rye."}, {"id": "empty", "text": " "}]
    file = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_documents([file]))
    assert [(one.label, one.text, one.subjects) for one in found] == [
        ("x", "Bees.", ("Tobin Hale",)), ("a.jsonl:2", "Rye.", ()),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "caf\xe9".encode("latin-1"), "is not UTF-8 text; save it as UTF-8"),
        ("a.md", b"\0\0\0", "is not text but bytes"),
        ("a.pdf", b"%PDF-1.4 and then nothing", "is broken or no PDF"),
        ("a.pdf", b"no pdf at all", "is broken or no PDF"),
        ("a.pdf", pdf_of("Ada").replace(b"/Length", b"/Filter /Unheard /Length"), "is broken or no PDF"),
        ("a.pdf", pdf_of(""), "has pages but no text"),
        ("a.docx", b"PK", "is of no kind that can be read"),
        ("a.jsonl", b"\xff{}\n", "line 1 is not UTF-8 text"),
        ("a.jsonl", b'{"text": "a"}\n{oops\n', "line 2 is not JSON"),
        ("a.jsonl", b'{"title": "a"}\n', "line 1 has no `text`"),
        ("a.jsonl", b'["text"]\n', "line 1 has no `text`"),
        ("a.jsonl", b'{"text": "a", "subjects": "Ada"}\n', "`subjects` must be a list of names"),
        ("a.txt", b"  \n", "there is no text in the documents"),
    ],
)
def test_what_cannot_be_read_says_so(name, content, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        list(read_documents([write(tmp_path, name, content)]))


def test_a_document_of_a_hundred_megabytes_is_refused_before_it_is_read(tmp_path):
    for name in ("a.txt", "a.pdf", "a.jsonl"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(100_000_000)
        with pytest.raises(BadInput, match="split it into several"):
            list(read_documents([tmp_path / name]))


def test_lines_may_be_many_where_each_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    file = write(tmp_path, "a.jsonl", '{"text": "a short one"}\n' * 50)
    assert len(list(read_documents([file]))) == 50


def test_a_folder_without_documents_a_missing_file_and_a_name_given_twice_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="there is no text"):
        list(read_documents([tmp_path / "none"]))
    with pytest.raises(BadInput, match="there is no file"):
        list(read_documents([tmp_path / "gone.txt"]))
    with pytest.raises(BadInput, match="cannot be read"):
        list(read_documents([tmp_path / ("x" * 400)]))
    one, two = write(tmp_path, "one/a.txt", "x"), write(tmp_path, "two/a.txt", "y")
    with pytest.raises(BadInput, match="was given before"):
        list(read_documents([one, two]))
