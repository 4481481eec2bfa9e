"""The ledger: the workspace's database and its readable mirror in MLflow.

Every function takes an open `Connection` first: a writing one from `database.transaction()`,
or any for those that only read. What belongs together (a change and its audit entry) goes into
one transaction; nothing here opens one of its own, except `Database` and `Registry`.
Writing functions can be repeated: the same call again changes nothing and returns what is there.
Times are timezone-aware UTC; versions, datasets and blobs are named by sha256 in hex.

::

    database.Database(url)
        .migrate() .transaction() -> Connection .read() -> Connection .vacuum() .close()

    actions.Action                                        the vocabulary, such as Action.ERASURE_OPENED
    audit.append(connection, *, id, actor, action, body) -> AuditEntry
    audit.append_many(connection, [audit.Draft(id, actor, action, body)]) -> tuple[AuditEntry, ...]
    audit.entries(connection, after=0, limit=None) -> Iterator[AuditEntry]     audit.get(connection, seq)
    audit.head(connection) -> (seq, hash)                 audit.verify_chain(connection) -> count
    audit.position(connection, reader) -> seq             audit.advance(connection, reader, seq)
    audit.enlist(connection, readers)                     audit.is_enlisted(connection, reader) -> bool
    checkpoints.checkpoint(connection, keyring) -> Checkpoint      checkpoints.latest(connection)
    checkpoints.verify_checkpoints(connection, public_keys) -> count
    checkpoints.inclusion(connection, seq) -> Inclusion
    checkpoints.inclusions(connection, seqs) -> tuple[Inclusion, ...]
    bundles.export_bundle(connection, path, public_keys)  bundles.verify_bundle(path, public_keys) -> BundleReport

    people.add(connection, name, role) -> token           people.authenticate(connection, token) -> Person
    people.get(connection, id_or_name) -> Person          people.remove(connection, id_or_name) -> Person
    people.everyone(connection, removed=False) -> tuple[Person, ...]            people.Role

    cases.open_case(connection, case, *, quorum=2, ciphertext=None, detail=None) -> Case
    cases.get(connection, case) -> Case                   cases.detail(connection, case) -> dict
    cases.find(connection, *, mine, status, model, subject, kind, limit=100) -> tuple[Case, ...]   (without plans)
    cases.set_status(connection, case, status, *, outcome=None, reason=None) -> Case     cases.TRANSITIONS
    cases.set_subject(connection, case, pseudonym)        cases.set_plan(connection, case, plan) -> plan_digest
    cases.set_deadline(connection, case, due_at, detail) -> Case
    cases.extend(connection, case, *, due_at, reason, notice_sent_at, person) -> Case
    cases.extensions_of(connection, case) -> tuple[dict, ...]
    cases.ciphertext(connection, case) -> bytes | None    cases.set_ciphertext(connection, case, sealed)
    cases.shred(connection, case)
    approvals.approve(connection, case, plan_digest, person, decision="approve", reason="") -> tuple[Approval, ...]
    approvals.standing(connection, case)                  approvals.history(connection, case)
    approvals.counting(connection, case)                  approvals.missing(connection, case) -> int
    journal.step_result(connection, case, step) -> Mapping | None
    journal.record_step(connection, case, step, result) -> Mapping              (the first write wins)
    journal.steps_of(connection, case) -> dict            journal.forget_steps(connection, case) -> int
    reviews.add_near_misses(connection, case, [(record_id, dataset, score)])
    reviews.mark_near_miss(connection, case, record_id, mark, reason, person)   reviews.MARKS
    reviews.near_misses_of(connection, case, *, unmarked=False) -> tuple[NearMiss, ...]

    datasets.register(connection, Dataset(...), [Membership(pseudonym, records, is_control)]) -> Dataset
    datasets.get(connection, "name" | digest | "name@abc123") -> Dataset
    datasets.find(connection, *, status=None)             datasets.set_status(connection, digest, status)
    datasets.subjects_of(connection, digest) -> tuple[Membership, ...]
    datasets.datasets_of(connection, pseudonym) -> tuple[digest, ...]
    datasets.add_to_index(connection, [(pseudonym, kind, mac)])
    datasets.lookup(connection, macs) -> {mac: (pseudonym, ...)}                (people can share a name)
    datasets.macs_of(connection, pseudonym) -> tuple[(kind, mac), ...]
    datasets.remove_subject(connection, pseudonym) -> int
    datasets.set_licence(connection, digest, licence)
    datasets.set_control(connection, digest, control, *, subjects, controls)
    suppression.add(connection, [(kind, mac)], case) -> int       suppression.hits(connection, macs) -> set
    suppression.size(connection) -> int                   suppression.entries(connection) -> tuple[(kind, mac, case)]

    lineage.add_version(connection, Version(...), parents=[Edge(...)], data=[DataUse(...)]) -> Version
    lineage.next_number(connection, model) -> int         lineage.get(connection, model, number) -> Version
    lineage.by_digest(connection, digest)                 lineage.versions_of(connection, model=None)
    lineage.with_status(connection, status) -> tuple[Version, ...]
    lineage.models(connection)                            lineage.set_status(connection, model, number, status)
    lineage.set_mlflow(connection, model, number, *, version, model_id, run_id, uri=None)
    lineage.add_edge(connection, Edge)                    lineage.add_data(connection, DataUse)
    lineage.parents(connection, digest) -> tuple[Edge, ...]       lineage.data_of(connection, digest)
    lineage.versions_trained_on(connection, digests) -> tuple[Version, ...]
    lineage.descendants(connection, digest)               lineage.ancestors(connection, digest, without=())
    lineage.tainted_by(connection, digests)               lineage.rebuilt_from(connection, digest)
    inventory.add_state(connection, [StateBlob(version, name, blob, key_name)])
    inventory.state_of(connection, version) -> {name: StateBlob}  inventory.users_of(connection, blob)
    inventory.remove_state(connection, version) -> tuple[blob, ...]             (those nobody else uses)
    inventory.add_recipient(connection, version, what, where_digest)
    inventory.recipient(connection, id) -> Recipient
    inventory.recipients_of(connection, versions) -> tuple[Recipient, ...]      inventory.mark_told(connection, id)
    aliases.move(connection, *, model, alias, expected, new, actor, case=None) -> Move
    aliases.withdraw(connection, *, model, alias, expected, actor, case=None) -> Move
    aliases.withdrawn(connection, model, cases) -> {alias: number}
    aliases.moved_by(connection, model, cases) -> bool
    aliases.resolve(connection, "model@alias" | "model@2" | "model") -> Version
    aliases.resolve_version(connection, "model@alias" | "model@2") -> Version
    aliases.current(connection, model, alias) -> int | None       aliases.history(connection, model, alias)
    aliases.aliases_of(connection, model) -> {alias: number}      aliases.names_of(connection, model)

    decisions.record(connection, id, *, case, policy_text, inputs, verdict) -> Decision
    decisions.get(connection, id)                         decisions.find(connection, case=None)
    receipts.add(connection, commitment, case, certificate) -> Receipt   receipts.find(connection, commitment)
    copies.declare(connection, id, kind, *, digest, place, expires_at) -> Copy   copies.get(connection, id)
    copies.confirm_deleted(connection, id, person)        copies.pending(connection, at=None)

    registry.Registry(tracking_uri, artifact_root=None, permits=None)           (imports mlflow on first use)
        .register_version(name, directory, manifest, *, key, tags=None, run_id=None, description="")
            -> RegisteredVersion(name, version, model_id, uri, digest)
        .find_version(name, key) -> RegisteredVersion | None      .get_version(name, version) -> RegisteredVersion
        .download(name, version, destination, digest=None) -> Manifest
        .alias(name, alias) -> int | None                 .set_alias(name, alias, version, expected, decision="")
        .drop_alias(name, alias, version)                 .tag_version(name, version, tags, description="")
        .put_tag(name, version, key, value)
        .purge_version(name, version, *, uri=None) -> evidence    .vacuum()
        .log_case(case, kind, *, step, before, after, metrics, tags, artifacts, description, status) -> run id
        .page_of(kind, run id) -> address                 .log_dataset(name, digest, source) -> run id
        .mirror_checkpoint(envelope) -> path              .mirrored_checkpoints() -> Iterator[envelope]
    uploads.tree_of(directory) -> Manifest                (without what MLflow adds)
    guard.writing.Permits(keyring)                        (for a server that runs on guard.open_store)
"""
