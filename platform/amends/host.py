"""Discover plugins, check what they offer, and look things up by name. Fails closed."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy

from amends import hookspecs
from amends.errors import BrokenPlugin, UnknownOperation, UnknownProbe
from amends.operation import Attachment, Operation, Probe, Store, Workspace
from amends.records import AuditEntry, Change

if TYPE_CHECKING:
    import click


@dataclass(frozen=True)
class PluginInfo:
    """One plugin: its name, where it comes from, and why it is broken if it is."""

    name: str
    module: str
    distribution: str
    version: str
    broken: str = ""


@dataclass
class Host:
    """The plugins of this installation and everything they offer."""

    manager: pluggy.PluginManager
    plugins: tuple[PluginInfo, ...] = ()
    _operations: dict[str, tuple[str, Operation]] = field(default_factory=dict)
    _probes: dict[str, tuple[str, Probe]] = field(default_factory=dict)
    _attachments: dict[str, tuple[str, Attachment]] = field(default_factory=dict)

    @property
    def broken(self) -> tuple[PluginInfo, ...]:
        """The plugins that could not be loaded or checked."""
        return tuple(plugin for plugin in self.plugins if plugin.broken)

    @property
    def operations(self) -> dict[str, Operation]:
        """Every operation by name, sorted."""
        return {name: found for name, (_, found) in sorted(self._operations.items())}

    @property
    def probes(self) -> dict[str, Probe]:
        """Every probe by name, sorted."""
        return {name: found for name, (_, found) in sorted(self._probes.items())}

    @property
    def attachments(self) -> dict[str, Attachment]:
        """Every attachment by kind, sorted."""
        return {name: found for name, (_, found) in sorted(self._attachments.items())}

    def require_whole(self) -> None:
        """Refuse to go on while a plugin is broken.

        Raises:
            BrokenPlugin: A plugin could not be loaded or checked.
        """
        if self.broken:
            plugin = self.broken[0]
            raise BrokenPlugin(f"plugin {plugin.name!r} is broken ({plugin.broken}); mend it or uninstall it")

    def operation(self, name: str) -> Operation:
        """Return an operation that can be verified.

        Raises:
            UnknownOperation: No plugin offers it.
            UnknownProbe: It names a probe that nobody offers.
            BrokenPlugin: Any plugin is broken.
        """
        self.require_whole()
        if name not in self._operations:
            raise UnknownOperation(f"no plugin offers {name!r}; there are {', '.join(self.operations) or 'none'}")
        found = self._operations[name][1]
        for needed in found.verified_by:
            if needed not in self._probes:
                raise UnknownProbe(f"{name} is verified by {needed!r}, which no plugin offers; install one that does")
        return found

    def probe(self, name: str) -> Probe:
        """Return a probe by name.

        Raises:
            UnknownProbe: No plugin offers it.
            BrokenPlugin: Any plugin is broken.
        """
        self.require_whole()
        if name not in self._probes:
            raise UnknownProbe(f"no plugin offers {name!r}; there are {', '.join(self.probes) or 'none'}")
        return self._probes[name][1]

    def attachment(self, kind: str) -> Attachment:
        """Return an attachment by its registered kind.

        Raises:
            UnknownOperation: No plugin offers it.
        """
        if kind not in self._attachments:
            raise UnknownOperation(f"no plugin offers attachment {kind!r}; install the plugin that made this version")
        return self._attachments[kind][1]

    def source_of(self, name: str) -> PluginInfo:
        """Return the plugin that offers an operation, probe or attachment."""
        for table in (self._operations, self._probes, self._attachments):
            if name in table:
                owner = table[name][0]
                return next(plugin for plugin in self.plugins if plugin.name == owner)
        raise UnknownOperation(f"no plugin offers {name!r}")

    def stores(self, workspace: Workspace) -> tuple[Store, ...]:
        """Return every plugin's stores, by name."""
        self.require_whole()
        gathered = self.manager.hook.amends_stores(workspace=workspace)
        return tuple(sorted((s for some in gathered for s in some), key=lambda store: store.name))

    def review(self, change: Change) -> tuple[str, ...]:
        """Return every plugin's objections to a promotion; a reviewer that fails objects."""
        self.require_whole()
        objections: list[str] = []
        for implementation in self.manager.hook.amends_review.get_hookimpls():
            try:
                said: Any = implementation.function(*[change for _ in implementation.argnames])
                objections += [str(sentence) for sentence in said or ()]
            except Exception as error:
                objections.append(f"reviewer {implementation.plugin_name!r} failed ({type(error).__name__})")
        return tuple(sorted(objections))

    def recorded(self, entry: AuditEntry) -> tuple[str, ...]:
        """Tell every plugin of an entry and return the names of those that failed."""
        failed = []
        for implementation in self.manager.hook.amends_recorded.get_hookimpls():
            try:
                implementation.function(*[entry for _ in implementation.argnames])
            except Exception:
                failed.append(implementation.plugin_name)
        return tuple(failed)

    def add_commands(self, cli: click.Group) -> None:
        """Let every sound plugin add its commands."""
        self.manager.hook.amends_commands(cli=cli)


def load(plugins: Iterable[tuple[str, Any]] | None = None) -> Host:
    """Discover the installed plugins, or take the given `(name, module)` pairs (for tests)."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    host = Host(manager)
    found = []
    for info, module in _installed() if plugins is None else _given(plugins):
        found.append(info if info.broken else _register(host, info, module))
    host.plugins = tuple(sorted(found, key=lambda plugin: plugin.name))
    return host


def _installed() -> Iterable[tuple[PluginInfo, Any]]:
    for entry in sorted(importlib.metadata.entry_points(group=hookspecs.GROUP), key=lambda entry: entry.name):
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "0")
        info = PluginInfo(entry.name, entry.value, name, version)
        try:
            yield info, entry.load()
        except Exception as error:
            yield _break(info, error), None


def _given(plugins: Iterable[tuple[str, Any]]) -> Iterable[tuple[PluginInfo, Any]]:
    for name, module in plugins:
        yield PluginInfo(name, getattr(module, "__name__", name), "tests", "0"), module


def _break(info: PluginInfo, error: Exception) -> PluginInfo:
    reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    return PluginInfo(info.name, info.module, info.distribution, info.version, reason)


def _register(host: Host, info: PluginInfo, module: Any) -> PluginInfo:
    try:
        _check_marked(module)
        host.manager.register(module, info.name)
        host.manager.check_pending()
        offers = (
            (host._operations, _offers(module, "amends_operations", Operation), "name"),
            (host._probes, _offers(module, "amends_probes", Probe), "name"),
            (host._attachments, _offers(module, "amends_attachments", Attachment), "kind"),
        )
        for table, offered, key in offers:
            for thing in offered:
                _enter(table, getattr(thing, key), info.name, thing)
    except Exception as error:
        if host.manager.is_registered(module):
            host.manager.unregister(module)
        for table in (host._operations, host._probes, host._attachments):
            for name in [name for name, (owner, _) in table.items() if owner == info.name]:
                del table[name]
        return _break(info, error)
    return info


def _check_marked(module: Any) -> None:
    """Refuse a function with a hook's name and without its mark: it would never be called."""
    for name in vars(module) if hasattr(module, "__dict__") else ():
        found = getattr(module, name)
        if name.startswith("amends_") and callable(found) and not hasattr(found, f"{hookspecs.GROUP}_impl"):
            raise TypeError(f"{name} is not marked; write @amends.hookimpl above it")


def _offers(module: Any, hook: str, kind: type) -> list[Any]:
    function = getattr(module, hook, None)
    offered = [] if function is None else list(function())
    for thing in offered:
        if not isinstance(thing, kind):
            raise TypeError(f"{hook} returned a {type(thing).__name__}, not a {kind.__name__}")
    return offered


def _enter(table: dict[str, Any], name: str, owner: str, thing: Any) -> None:
    if name in table:
        raise ValueError(f"{name!r} is already offered by plugin {table[name][0]!r}")
    table[name] = (owner, thing)


_HOST: list[Host] = []


def current() -> Host:
    """Return this process's host, loading it once."""
    if not _HOST:
        _HOST.append(load())
    return _HOST[0]


def heavy_modules() -> tuple[str, ...]:
    """Return which heavy libraries this process has imported; start-up must import none."""
    heavy = ("torch", "transformers", "ray", "mlflow", "sentence_transformers", "pydantic", "dbos", "peft")
    return tuple(name for name in heavy if name in sys.modules)
