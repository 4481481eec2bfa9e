"""`amends certificate`: what was attested, and whether it still holds."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.subject import read_subject
from amends.cli.tables import Table
from amends.cli.verbs import group
from amends.errors import BadInput

certificate = group("certificate", "List, show and verify certificates and receipts.")
KEYS = click.option("--public-key", type=click.Path(path_type=Path), help="PEM file, or a directory of them.")


@certificate.verb("list", example="amends certificate list")
def list_certificates(screen: Screen) -> None:
    """List the certificates that were issued here."""
    from amends.governor.cases.viewing import certificates

    with screen.workspace() as workspace:
        found = certificates(workspace)
    rows = [(c["case"], c["page"]) for c in found]
    screen.show(found, Table(("case", "page"), rows, "nothing was attested yet"))


@certificate.verb("show", example="amends certificate show e-0123456789")
@click.argument("case")
def show(screen: Screen, case: str) -> None:
    """Show what a case's certificate says, after verifying it."""
    from amends.governor.cases import viewing
    from amends.governor.proof import certificates, proving

    with screen.workspace() as workspace:
        known = viewing.certificate_of(workspace, case)
        if known is None:
            raise BadInput(f"case {case} has no certificate; see amends certificate list")
        found = certificates.verify_certificate(Path(known["envelope"]), proving.public_keys(workspace, None))
    screen.show({**found, **known}, *_lines(found), f"page to read and print: {known['page']}")


@certificate.verb("verify", example="amends certificate verify e-0123456789.dsse.json --public-key keys/")
@click.argument("file", type=click.Path(path_type=Path))
@KEYS
def verify(screen: Screen, file: Path, public_key: Path | None) -> None:
    """Check a certificate and its page, offline; with --public-key without any workspace."""
    from amends.governor.proof.certificates import verify_certificate

    found = verify_certificate(file, _keys(screen, public_key))
    screen.show(found, *_lines(found))


@certificate.verb("receipt", example="amends certificate receipt e-0123456789")
@click.argument("case")
@click.option(
    "--check", "where", is_flag=False, flag_value="-", default="", metavar="[FILE]", help="Check one instead."
)
@KEYS
def receipt(screen: Screen, case: str, where: str, public_key: Path | None) -> int:
    """Hand over the receipt of a case, this once; or check one, and leave with 1 if it does not fit.

    With --check, CASE may also be the file of a certificate. Standard input, or the file after --check, has
    `receipt: …` and `name: …` (or email, phone) on lines.
    """
    from amends.governor.proof import proving

    if where:
        return _check(screen, case, where, public_key)
    with screen.workspace() as workspace:
        nonce = proving.read_receipt(workspace, case)
        screen.show(
            {"case": case, "receipt": nonce},
            f"receipt of case {case}: {nonce}",
            "Give it to the person with their certificate; it is not shown again.",
        )
        proving.forget_receipt(workspace, case)
    return 0


def _check(screen: Screen, case: str, where: str, public_key: Path | None) -> int:
    from amends.governor.cases import viewing
    from amends.governor.proof import proving

    given, file = read_subject(where, extra=("receipt",)), Path(case)
    if not file.exists():
        with screen.workspace() as workspace:
            file = Path((viewing.certificate_of(workspace, case) or {"envelope": case})["envelope"])
    is_theirs = proving.check_certificate_receipt(file, _keys(screen, public_key), given)
    said = "this certificate is the one of this receipt and person" if is_theirs else "this is not their certificate"
    screen.show({"matches": is_theirs}, said)
    return 0 if is_theirs else 1


def _keys(screen: Screen, public_key: Path | None) -> dict[str, str]:
    from amends.governor.proof import proving

    if public_key is not None:
        return proving.public_keys(None, public_key)
    with screen.workspace() as workspace:
        return proving.public_keys(workspace, None)


def _lines(found: dict[str, object]) -> list[str]:
    checks = found["checks"]
    lines = [f"{found['title']}: case {found['case']}, model {found['model']}, guarantee {found['guarantee'] or '-'}"]
    lines += [f"issued at {found['issued_at']}, anchor: {found['anchor']}", f"digest: {found['digest']}"]
    return lines + [f"holds: {check}" for check in (checks if isinstance(checks, list) else [])]
