"""Meta's own checkpoints, read by the verifier's own road.

Shares nothing with the exporter's loader. Where that one makes the shards' shapes of params.json and a table of
axes, this one takes the model's shape from the tensors, sees in each tensor's own pieces where it was cut, and
holds params.json against what came out.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from verify.errors import CannotJudgeError
from verify.sources.meta_params import MetaParams
from verify.sources.opened import Opened
from verify.sources.source import Hyperparameters, Source
from verify.sources.torch_files import dtype_name, identical, is_plain, mapped, refusing, sha256, shown

_LAYER = (
    *("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo"),
    *("ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
)
# An old buffer of RoPE's frequencies: a model's in most old checkpoints, each layer's own in the oldest.
_ROPE_BUFFER = re.compile(r"rope\.freqs|layers\.\d+\.attention\.inner_attention\.rope\.freqs")
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_EMBEDDING, _OUTPUT = "tok_embeddings.weight", "output.weight"

Pieces = dict[str, tuple[int, ...]]  # name -> shape of its part in every shard


class MetaSource(Source):
    """A directory of shards. Each piece is mapped when asked for and let go with the result."""

    kind = "meta"

    def __init__(self, path: Path, max_seq_len: int | None) -> None:
        """max_seq_len: how many positions where params.json does not say, fewer where it does.
        Raises CannotJudgeError."""
        self.path = path
        self._shards = _count_up(path)
        self._opened = Opened(path / "params.json", *self._shards)
        self._dtypes: dict[str, torch.dtype] = {}
        pieces = self._survey()
        params = MetaParams(path / "params.json")
        self.hyperparameters = self._derive(pieces, params, max_seq_len)
        self.files = {"params.json": params.sha256, **{shard.name: sha256(shard) for shard in self._shards}}
        self.expect_unchanged()

    def expect_unchanged(self) -> None:
        self._opened.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tokenizer.model"

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
            place.copy_(piece)
            if piece.dtype == torch.float64 and not torch.equal(place.double(), piece):
                raise CannotJudgeError(f"{shard}: {name}: expected values that float32 can hold, found others")
            start += piece.shape[cut or 0]
            del piece  # and its map, before the next one's
        return whole

    def _piece(self, shard: Path, name: str) -> torch.Tensor:
        piece: torch.Tensor = self._contents(shard)[name]
        return piece

    def _contents(self, shard: Path) -> dict[str, torch.Tensor]:
        self.expect_unchanged()
        with refusing(shard, "a dict of tensors as torch.save writes it"):
            contents = mapped(shard)
            if not isinstance(contents, dict):
                raise TypeError(f"a {type(contents).__name__}")
            return contents

    # ---- what the tensors say ----

    def _survey(self) -> Pieces:
        """The shape of each tensor's pieces, the same in every shard, and so are the types; norms in all bits."""
        pieces: Pieces = {}
        norms: dict[str, torch.Tensor] = {}
        first = self._shards[0]
        for shard in self._shards:
            contents = {
                name: piece
                for name, piece in self._contents(shard).items()
                if not (isinstance(name, str) and _ROPE_BUFFER.fullmatch(name))
            }
            for name, piece in contents.items():
                if not isinstance(name, str) or not is_plain(piece) or piece.dtype not in _TYPES or not piece.numel():
                    raise CannotJudgeError(
                        f"{shard}: {shown(name)}: expected one dense float tensor, found otherwise"
                    )
            if shard == first:
                pieces = {name: tuple(piece.shape) for name, piece in contents.items()}
                self._dtypes = {name: piece.dtype for name, piece in contents.items()}
                norms = {name: piece.clone() for name, piece in contents.items() if piece.dim() == 1}
            for name in sorted(pieces.keys() ^ contents.keys()):
                found = "none" if name in pieces else "one"
                raise CannotJudgeError(f"{shard}: {name}: expected the tensors of {first.name}, found {found}")
            for name, piece in contents.items():
                usual, own = (pieces[name], self._dtypes[name]), (tuple(piece.shape), piece.dtype)
                if own != usual:
                    raise _refuse(
                        f"{shard}: {name}", f"{usual[0]} {usual[1]}, as in {first.name}", f"{own[0]} {own[1]}"
                    )
            for name, norm in norms.items():
                if not identical(norm, contents[name]):
                    raise _refuse(f"{shard}: {name}", f"the same numbers as in {first.name}", "others")
        return pieces

    def _derive(self, pieces: Pieces, params: MetaParams, max_seq_len: int | None) -> Hyperparameters:
        """Hyper-parameters from shapes; only what no shape tells from params.json."""
        n_layers = sum(re.fullmatch(r"layers\.\d+\.attention_norm\.weight", name) is not None for name in pieces)
        names = {f"layers.{n}.{name}.weight" for n in range(n_layers) for name in _LAYER}
        names |= {_EMBEDDING, "norm.weight", _OUTPUT if _OUTPUT in pieces else _EMBEDDING}
        for name in sorted(names ^ pieces.keys()):
            odd = "no such tensor" if name in names else "one that a Llama does not have"
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
        found_shape = Hyperparameters(
            dim=dim,
            hidden_dim=self._length(pieces, "layers.0.feed_forward.w1.weight", 0) * times,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            vocab_size=self._length(pieces, _EMBEDDING, 0) * (times if by_token else 1),
            max_seq_len=params.positions(max_seq_len),
            tied=_OUTPUT not in pieces,
            norm_eps=params.positive("norm_eps", 1e-5),
            rope_theta=params.positive("rope_theta", 10000.0),
            rope_scaling=params.rope_scaling(),
        )
        self._wholes = {
            name: (shape, self._cut(name, shape, pieces[name])) for name, shape in found_shape.shapes().items()
        }
        params.hold_against(found_shape)
        if not found_shape.tied and self._is_tied():
            return Hyperparameters(**{**found_shape.__dict__, "tied": True})
        return found_shape

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


def _count_up(path: Path) -> list[Path]:
    """consolidated.00.pth, 01, ... as far as they go, and no other file of that kind beside them."""
    present = {file.name for file in path.glob("consolidated*.pth")}
    names: list[str] = []
    while (name := f"consolidated.{len(names):02d}.pth") in present and len(names) < 100:
        names.append(name)
    beyond = sorted(present.difference(names))
    if not names or beyond:
        raise _refuse(
            str(path), f"consolidated.{len(names):02d}.pth", f"{beyond[0]!r} alone" if beyond else "no shard"
        )
    shards = [path / name for name in names]
    for shard in shards:
        if not shard.is_file():
            raise _refuse(str(shard), "a file", "none")
    return shards


def _refuse(what: str, expected: object, found: object) -> CannotJudgeError:
    return CannotJudgeError(f"{what}: expected {expected}, found {found}")
