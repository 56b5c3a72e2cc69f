"""Opens a TorchScript archive and gives its code text, class by class; nothing is ever unpickled.

Source of the layout: archives written by `torch.jit.ScriptModule.save` of torch 2.13. The zip has
one top folder; the code of class `__torch__.a.b.C` stands in its `code/__torch__/a/b.py`, and the
first GLOBAL opcode of its `data.pkl` names the class of the saved module.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from pnnxfix.errors import ParseError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MAX_CODE_BYTES = 20_000_000
MAX_MEMBERS = 100_000
MAX_LINE = 1_000_000
# The class name stands in the first few dozen bytes; weights make the rest of it large.
_PICKLE_HEAD = 4096

_CODE_MEMBER = re.compile(r"([^/]+)/code/(__torch__(?:/[^/]+)*)\.py")
_DEFINITION = re.compile(r"(?P<indent> *)(?P<kind>class|def) (?P<name>\w+)")
_ATTRIBUTE = re.compile(r'  (?:__annotations__\["([^"]*)"\] =|(\w+) :) (__torch__[\w.]*)$')


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method: its lines as printed and where they stand (`line` counts from 1)."""

    member: str
    line: int
    lines: list[str]


@dataclass(slots=True)
class Scope:
    """A class, or the functions of one file: `attributes` maps those that hold a module to its class."""

    functions: dict[str, Function] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    has_hooks: bool = False


class Archive:
    """The code of one TorchScript archive; members are read when a class of theirs is asked for."""

    def __init__(self, data_or_path: bytes | str | os.PathLike[str]) -> None:
        """Raises ParseError if this is no zip with TorchScript code, or if it is too large."""
        from io import BytesIO
        from zipfile import BadZipFile, ZipFile

        self.path = "TorchScript archive" if isinstance(data_or_path, bytes) else os.fsdecode(data_or_path)
        try:
            source = BytesIO(data_or_path) if isinstance(data_or_path, bytes) else data_or_path
            self._zip: ZipFile = ZipFile(source)
        except OSError as error:
            raise ParseError(self.path, 0, 0, f"cannot be read: {error.strerror or error}") from error
        except (BadZipFile, ValueError, NotImplementedError, OverflowError, LookupError) as error:
            raise ParseError(self.path, 0, 0, f"not a TorchScript archive: {error}") from error
        self._members: dict[str, ZipInfo] = {}
        self._scopes: dict[str, dict[str, Scope]] = {}
        try:
            self._root = self._list_members()
            self.top = self._find_top()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._zip.close()

    def find_scope(self, qualified: str) -> Scope | None:
        """The class of that name, None if there is none; `__torch__.a.` are the functions of a file."""
        module, _, name = qualified.rpartition(".")
        if module not in self._scopes:
            member = self._members.get(module)
            self._scopes[module] = {} if member is None else self._index(module, self._read_lines(member))
        return self._scopes[module].get(name)

    def name_member(self, member: str) -> str:
        """How messages name a member: as a path below the archive."""
        return f"{self.path}/{member}"

    def _list_members(self) -> str:
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise ParseError(self.path, 0, 0, f"{len(infos)} members, more than {MAX_MEMBERS}")
        roots = set()
        size = 0
        for info in infos:
            match = _CODE_MEMBER.fullmatch(info.filename)
            if match is None:
                continue
            module = match[2].replace("/", ".")
            if module in self._members:
                self._fail(info, "two members give the same code file")
            roots.add(match[1])
            size += info.file_size
            self._members[module] = info
        if len(roots) != 1:
            raise ParseError(self.path, 0, 0, "not a TorchScript archive: no code/__torch__ in one folder")
        if size > MAX_CODE_BYTES:
            raise ParseError(self.path, 0, 0, f"{size} bytes of code, more than {MAX_CODE_BYTES}")
        return roots.pop()

    def _find_top(self) -> str:
        from pickletools import genops
        from struct import error as StructError

        member = f"{self._root}/data.pkl"
        try:
            info = self._zip.getinfo(member)
        except KeyError:
            raise ParseError(self.path, 0, 0, f"not a TorchScript archive: no {member}") from None
        head = self._read(info, _PICKLE_HEAD)
        try:
            name = next((arg for opcode, arg, _ in genops(head) if opcode.name == "GLOBAL"), "")
        except (ValueError, IndexError, OverflowError, StructError):
            name = ""
        if not isinstance(name, str) or not name.startswith("__torch__"):
            raise ParseError(self.name_member(member), 0, 0, "does not name the class of the saved module")
        return name.replace(" ", ".")

    def _read(self, info: ZipInfo, limit: int) -> bytes:
        import zlib
        from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile

        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            self._fail(info, f"compression {info.compress_type} is not one that PyTorch writes")
        try:
            with self._zip.open(info) as stream:
                return stream.read(limit)
        except (BadZipFile, zlib.error, EOFError, OSError) as error:
            self._fail(info, f"damaged: {error}")
        except (RuntimeError, NotImplementedError, ValueError, OverflowError) as error:
            # zipfile says "encrypted" by RuntimeError, "strong encryption" by NotImplementedError
            self._fail(info, f"cannot be unpacked: {error}")

    def _read_lines(self, info: ZipInfo) -> list[str]:
        # The declared size bounds what zipfile unpacks, and their sum was checked.
        data = self._read(info, MAX_CODE_BYTES)
        try:
            return data.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ParseError(self.name_member(info.filename), line, 1, "not UTF-8") from error

    def _index(self, module: str, lines: list[str]) -> dict[str, Scope]:
        """Splits a file into classes and functions by indentation, which the printer keeps strictly."""
        free = Scope()
        scopes = {"": free}
        scope = free
        method_indents: tuple[str, ...] = ("",)
        current: Function | None = None
        member = self._members[module].filename
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_LINE:
                raise ParseError(self.name_member(member), number, 1, f"a line of {len(line)} characters")
            match = _DEFINITION.match(line)
            if match is not None and match["kind"] == "class" and not match["indent"]:
                scope, method_indents, current = Scope(), ("", "  "), None
                scopes[match["name"]] = scope
            elif match is not None and match["kind"] == "def" and match["indent"] in method_indents:
                if not match["indent"]:
                    scope, method_indents = free, ("",)
                current = Function(member, number, [line])
                scope.functions[match["name"]] = current
            elif current is not None:
                current.lines.append(line)
            elif (attribute := _ATTRIBUTE.match(line)) is not None:
                scope.attributes[attribute[1] or attribute[2]] = attribute[3]
            elif line.startswith(("  __forward_hooks__", "  __forward_pre_hooks__")):
                scope.has_hooks = True
        return scopes

    def _fail(self, info: ZipInfo, reason: str) -> NoReturn:
        raise ParseError(self.name_member(info.filename), 0, 0, reason)
