"""Reads Meta's own checkpoints by the verifier's own road.

It shares nothing with the exporter's loader. Where that one makes the shards' shapes of params.json and a table of
axes, this one takes the model's shape from the tensors, sees in each tensor's own pieces where it was cut, and
holds params.json against what came out.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from verify.errors import CannotJudgeError
from verify.sources.directory import SourceDirectory
from verify.sources.finite import expect_finite
from verify.sources.meta_params import MetaParams
from verify.sources.name_prefixes import note_of_removed, shared_unknown_prefix, unwrapped
from verify.sources.old_buffers import check_frequencies, check_mask, check_rotations
from verify.sources.options import NO_OPTIONS, SourceOptions
from verify.sources.source import Hyperparameters, Source
from verify.sources.torch_files import dtype_name, identical, is_plain, mapped, refusing, shown

_LAYER = (
    *("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo"),
    *("ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
)
# Buffers of old checkpoints; RoPE's frequencies are a model's in most, each layer's own in the oldest.
_FREQUENCIES = re.compile(r"(.+\.)?rope\.freqs")
_ROTATIONS = re.compile(r"(.+\.)?freqs_(cos|sin|cis)")
_MASK = re.compile(r"(.+\.)?(attention|attn)\.mask")
_TENSOR = re.compile(
    rf"layers\.\d+\.({'|'.join(map(re.escape, _LAYER))})\.weight|(tok_embeddings|norm|output)\.weight"
)
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_EMBEDDING, _OUTPUT = "tok_embeddings.weight", "output.weight"
# As many as two digits number.
_MOST_SHARDS = 100

Pieces = dict[str, tuple[int, ...]]  # name -> shape of its part in every shard


class MetaSource(Source):
    """A directory of shards. Each piece is mapped on request and released with the result."""

    kind = "meta"

    def __init__(self, path: Path, options: SourceOptions = NO_OPTIONS) -> None:
        """Raises CannotJudgeError, also where params.json leaves open what the options do not say either."""
        self.path = path
        self._directory = SourceDirectory(path, follow_links=options.follow_links)
        names = _count_up(path)
        params = MetaParams(path / "params.json", self._directory.read_json("params.json"), options)
        self._shards = [self._directory.take(name) for name in names]
        self._dtypes: dict[str, torch.dtype] = {}
        self._own: dict[str, str] = {}
        buffers, pieces = self._survey()
        self.hyperparameters = self._derive(pieces, params)
        self._expect_tied_as_asked(options.tied, absent=_OUTPUT not in pieces)
        for shard, own in buffers:
            self._check_buffer(shard, own)
        self.notes = (*params.notes, *note_of_removed(own.removesuffix(bare) for bare, own in self._own.items()))
        if _OUTPUT not in pieces:
            self.notes += (f"--tied: {_OUTPUT} is absent; {_EMBEDDING} was read in both places",)
        if buffers:
            self.notes += (f"{buffers[0][1]}: stored buffers hold what the model computes; they were dropped",)
        self.files = {name: self._directory.digests[name] for name in ("params.json", *names)}
        self.expect_unchanged()

    def expect_unchanged(self) -> None:
        self._directory.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return self._directory.tokenizer()

    def dtype(self, name: str) -> str:
        return dtype_name(self._dtypes[self._stored(name)])

    def tensor(self, name: str) -> torch.Tensor:
        return self._joined(self._stored(name), torch.float32)

    def _stored(self, name: str) -> str:
        return _EMBEDDING if name == _OUTPUT and self.hyperparameters.tied else name

    def _joined(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """The whole tensor, filled piece by piece; each piece's map goes with it."""
        shape, cut = self._wholes[name]
        whole = torch.empty(shape, dtype=dtype)
        start = 0
        # what was not cut is in any shard; the exporter's road takes the first
        for shard in self._shards if cut is not None else self._shards[-1:]:
            piece = self._piece(shard, name).detach()
            place = whole if cut is None else whole.narrow(cut, start, piece.shape[cut])
            expect_finite(shard, self._own[name], piece)
            place.copy_(piece)
            if piece.dtype == torch.float64 and not torch.equal(place.double(), piece):
                raise CannotJudgeError(f"{shard}: {name}: expected values that float32 can hold, found others")
            start += piece.shape[cut or 0]
            del piece  # and its map, before the next one's
        return whole

    def _piece(self, shard: Path, name: str) -> torch.Tensor:
        piece: torch.Tensor = self._contents(shard)[self._own[name]]
        return piece

    def _contents(self, shard: Path) -> dict[str, torch.Tensor]:
        self.expect_unchanged()
        with refusing(shard, "a dict of tensors as torch.save writes it"):
            contents = mapped(shard)
            if not isinstance(contents, dict):
                raise TypeError(f"a {type(contents).__name__}")
            return contents

    # ---- what the tensors say ----

    def _survey(self) -> tuple[list[tuple[Path, str]], Pieces]:
        """Find the buffers, and the shape of each tensor's pieces: the same in every shard, as types are; norms agree
        in all bits."""
        pieces: Pieces = {}
        norms: dict[str, torch.Tensor] = {}
        buffers: list[tuple[Path, str]] = []
        first = self._shards[0]
        for shard in self._shards:
            contents = self._contents(shard)
            buffers += [(shard, name) for name in contents if isinstance(name, str) and _is_buffer(name)]
            contents = {name: piece for name, piece in contents.items() if (shard, name) not in buffers}
            for name, piece in contents.items():
                if not isinstance(name, str) or not is_plain(piece) or piece.dtype not in _TYPES or not piece.numel():
                    raise CannotJudgeError(
                        f"{shard}: {shown(name)}: expected one dense float tensor, found otherwise"
                    )
            if shard == first:
                self._own = {bare: own for own, bare in unwrapped(first, contents, _is_known).items()}
                pieces = {bare: tuple(contents[own].shape) for bare, own in self._own.items()}
                self._dtypes = {bare: contents[own].dtype for bare, own in self._own.items()}
                norms = {own: piece.clone() for own, piece in contents.items() if piece.dim() == 1}
            self._expect_same(shard, contents, pieces)
            for name, norm in norms.items():
                if not identical(norm, contents[name]):
                    raise _refuse(f"{shard}: {name}", f"the same numbers as in {first.name}", "others")
        return buffers, pieces

    def _expect_same(self, shard: Path, contents: dict[str, torch.Tensor], pieces: Pieces) -> None:
        """Refuse a shard unless it has the first one's names, shapes and types."""
        first, bare_names = self._shards[0], {own: bare for bare, own in self._own.items()}
        for name in sorted(bare_names.keys() ^ contents.keys()):
            found = "none" if name in bare_names else "one"
            raise CannotJudgeError(f"{shard}: {name}: expected the tensors of {first.name}, found {found}")
        for name, piece in contents.items():
            bare = bare_names[name]
            usual, own = (pieces[bare], self._dtypes[bare]), (tuple(piece.shape), piece.dtype)
            if own != usual:
                raise _refuse(f"{shard}: {name}", f"{usual[0]} {usual[1]}, as in {first.name}", f"{own[0]} {own[1]}")

    def _check_buffer(self, shard: Path, name: str) -> None:
        buffer = self._contents(shard)[name]
        if not isinstance(buffer, torch.Tensor):
            raise _refuse(f"{shard}: {name}", "a tensor", type(buffer).__name__)
        if _MASK.fullmatch(name):
            check_mask(shard, name, buffer)
        elif _ROTATIONS.fullmatch(name):
            check_rotations(shard, name, buffer, self.hyperparameters)
        else:
            check_frequencies(shard, name, buffer, self.hyperparameters)

    def _derive(self, pieces: Pieces, params: MetaParams) -> Hyperparameters:
        """Return hyper-parameters from shapes, and from params.json what no shape has."""
        n_layers = sum(re.fullmatch(r"layers\.\d+\.attention_norm\.weight", name) is not None for name in pieces)
        names = {f"layers.{n}.{name}.weight" for n in range(n_layers) for name in _LAYER}
        names |= {_EMBEDDING, "norm.weight", _OUTPUT if _OUTPUT in pieces else _EMBEDDING}
        for name in sorted(names ^ pieces.keys()):
            prefix = shared_unknown_prefix(pieces, _is_known)
            odd = "no such tensor" if name in names else "one that a Llama does not have"
            if prefix:
                odd = f"all of them under the prefix {prefix!r}: save the model's own state dict"
            raise _refuse(f"{self._shards[0]}: {name}", f"the tensors of a Llama of {n_layers} layers", odd)
        if n_layers == 0:
            raise _refuse(str(self._shards[0]), "layers", "none")
        dim = self._length(pieces, "norm.weight", 0)
        n_heads = params.count("n_heads")
        head_dim, remainder = divmod(dim, n_heads)
        if remainder or head_dim % 2:
            raise _refuse(params.at("n_heads"), f"a divisor of {dim} that leaves an even head size", n_heads)
        times = len(self._shards)
        part = pieces["layers.0.attention.wo.weight"]
        if len(part) == 2 and part[0] == dim and part[1] * times != dim:
            raise _refuse(str(self.path), f"shards with {dim} columns of wo together", f"{times} with {part[1]} each")
        n_kv_heads, remainder = divmod(self._length(pieces, "layers.0.attention.wk.weight", 0) * times, head_dim)
        if remainder or n_heads % n_kv_heads:
            found = pieces["layers.0.attention.wk.weight"]
            where = f"{self._shards[0]}: layers.0.attention.wk.weight"
            raise _refuse(where, f"rows of whole heads of {head_dim} that share {n_heads} evenly", found)
        # a token's vector is whole in a shard where the vocabulary is what was cut
        by_token = self._length(pieces, _EMBEDDING, 1) == dim
        vocab_size = self._length(pieces, _EMBEDDING, 0) * (times if by_token else 1)
        found_shape = Hyperparameters(
            dim=dim,
            hidden_dim=self._length(pieces, "layers.0.feed_forward.w1.weight", 0) * times,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            vocab_size=vocab_size,
            max_seq_len=params.positions(),
            tied=_OUTPUT not in pieces,
            norm_eps=params.positive("norm_eps", 1e-5),
            rope_theta=params.rope_theta(vocab_size),
            rope_scaling=params.rope_scaling(),
        )
        self._wholes = {
            name: (shape, self._cut(name, shape, pieces[name])) for name, shape in found_shape.shapes().items()
        }
        params.hold_against(found_shape)
        if not found_shape.tied and self._is_tied():
            return Hyperparameters(**{**found_shape.__dict__, "tied": True})
        return found_shape

    def _expect_tied_as_asked(self, asked: bool | None, *, absent: bool) -> None:
        """Refuse a classifier that is absent, as Meta's code does, unless the caller says what stands for it; refuse
        an option that contradicts the tensors."""
        if absent and not asked:
            raise CannotJudgeError(
                f"{self._shards[0]}: {_OUTPUT}: expected a tensor, because Meta's code never ties it, found none: "
                f"say --tied (tied=True in Python) to read {_EMBEDDING} in both places"
            )
        if asked not in (None, self.hyperparameters.tied):
            expected, found = ("equal", "different") if asked else ("different", "equal")
            option = "--tied" if asked else "--untied"
            raise _refuse(f"{self.path}: {option}", f"{expected} {_EMBEDDING} and {_OUTPUT}", f"{found} ones")

    def _length(self, pieces: Pieces, name: str, axis: int) -> int:
        shape = pieces[name]
        rank = 1 if name.endswith("norm.weight") else 2
        if len(shape) != rank:
            raise _refuse(f"{self._shards[0]}: {name}", f"{rank} axes", shape)
        return shape[axis]

    def _cut(self, name: str, whole: tuple[int, ...], piece: tuple[int, ...]) -> int | None:
        """Along which axis the pieces make the whole: the one that is longer there. Never the axis that reads or
        writes the residual stream, of which every GPU has all."""
        times = len(self._shards)
        if piece == whole and (len(whole) == 1 or times == 1):
            return None
        if len(piece) == len(whole) == 2:
            residual = 0 if name.endswith(("wo.weight", "w2.weight")) else 1
            longer = [
                axis for axis in (0, 1) if piece[axis] * times == whole[axis] and piece[1 - axis] == whole[1 - axis]
            ]
            if longer and (longer[0] != residual or name == _EMBEDDING):
                return longer[0]
        raise _refuse(f"{self.path}: {name}", f"{whole}, in {times} pieces as Meta cuts it", f"{piece} in each shard")

    def _is_tied(self) -> bool:
        """Whether the classifier's pieces are the embedding's rows, bit for bit."""
        if self._dtypes[_EMBEDDING] != self._dtypes[_OUTPUT]:
            return False
        rows = self._joined(_EMBEDDING, self._dtypes[_EMBEDDING]).chunk(len(self._shards))
        return all(
            identical(mine, self._piece(shard, _OUTPUT)) for mine, shard in zip(rows, self._shards, strict=True)
        )


def _is_buffer(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (_FREQUENCIES, _ROTATIONS, _MASK))


def _is_known(name: str) -> bool:
    return bool(_TENSOR.fullmatch(name))


def _count_up(path: Path) -> list[str]:
    """Return consolidated.00.pth, 01, ... as far as they go. Raises CannotJudgeError for another file of that kind
    beside them."""
    present = {file.name for file in path.glob("consolidated*.pth")}
    names: list[str] = []
    while (name := f"consolidated.{len(names):02d}.pth") in present and len(names) < _MOST_SHARDS:
        names.append(name)
    beyond = sorted(present.difference(names))
    if beyond and len(names) == _MOST_SHARDS:
        raise _refuse(str(path), f"at most {_MOST_SHARDS} shards", f"{beyond[0]!r} besides")
    if not names or beyond:
        raise _refuse(
            str(path), f"consolidated.{len(names):02d}.pth", f"{beyond[0]!r} alone" if beyond else "no shard"
        )
    for name in names:
        if not (path / name).is_file():
            raise _refuse(str(path / name), "a file", "none")
    return names


def _refuse(what: str, expected: object, found: object) -> CannotJudgeError:
    return CannotJudgeError(f"{what}: expected {expected}, found {found}")
