"""Embeddings of integers that ncnn does not have as integers."""

from __future__ import annotations

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.embedding import one_hot
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.value import IndexBits

_TABLES = {"e": "nn.Embedding(20, 8)", "q": "nn.Embedding(16, 8)", "n": "nn.LayerNorm(8)"}
_SHARED = (
    "(lambda e, f: (setattr(f, 'weight', e.weight), nn.ModuleList([e, f]))[1])"
    "(nn.Embedding(20, 8), nn.Embedding(20, 8))"
)


def _embedding(b: Builder, indexes: Value | IndexBits, width: int, count: int, *_: object) -> Value:
    if isinstance(indexes, IndexBits):
        return _leaked(b, indexes.blob, width, count)
    if b.own_type() != "Embed":
        raise NotExpressible("an embedding without its layer")
    table = b.own_layer(b.integer_bits(range(count)), (count, width), (count, width))
    return b.view(b.matmul(one_hot(b, indexes, count), table), (*indexes.shape, width))


def _leaked(b: Builder, indexes: Value, width: int, count: int) -> Value:
    """The layer that pnnx would have written; its weights stand in the .bin, without the tag."""
    if b.own_type() == "Embed":
        raise NotExpressible("an embedding that is right as it is")
    return b.own_table(indexes, width, count)


class Embedding(Family):
    """An embedding of integers that are computed, or whose table another module has, too.

    What it finds: `nn.Embedding` in `.ncnn.param`, as pnnx leaves it where two modules share one
    (`model.shared` of T5). Where leaked operators compute the integers (the positions that roberta
    counts from its input), the embedding is lowered with them, and so it is where pnnx gave arithmetic of
    integers to layers that take their bits for floats, next to zero (PNX150).

    Why it breaks: ncnn has no layer of that name. Its Embed reads int32 bits, which only an input of
    the network or a stored tensor has: ncnn's layers compute on floats only.

    Repair: the Embed layer that pnnx writes elsewhere, with the weights that stand in the `.ncnn.bin`
    already. For integers that are computed, each input of integers goes through an Embed layer whose
    table holds the number of each row, as a float; from there on floats are computed, exactly; and the
    embedding becomes a product of its table with rows of 0.0 and a single 1.0.

    Limits: needs to know how large the integers get, and that is at most 16,777,216. An input of the
    network must go into an embedding, too, whose table then bounds it. A product costs as much as
    a linear layer with as many inputs as the table has rows.

    Example:
        nn.Embedding   encoder.embed   2 1 1 in0 2
        Embed          encoder.embed   1 1 in0 2 0=64 1=200 2=0 3=12800

    Source: PyTorch's documentation of nn.Embedding; ncnn embed.cpp; T5, roberta and mpnet, converted by
    20261020.
    """

    code = "PNX135"
    name = "leaked-embedding"
    operators = {  # noqa: RUF012 a table, never changed
        "nn.Embedding(Looked-up input, int embedding_dim, int num_embeddings, bool sparse=False, "
        "int padding_idx=None) -> Tensor": _embedding,
    }
    cases = (
        Case(
            "m = i.ne(1).int()\np = (torch.cumsum(m, 1).type_as(m) * m).long() + 1\n"
            "t = torch.gather(b.expand(1, -1), dim=1, index=p)\nreturn n(e(i) + q(p) + q(t))",
            id="counted-positions",
            setup={**_TABLES, "b": "torch.arange(16)[None] % 5"},
            rows=12,
            i="i64[1,8]",
        ),
        Case(
            "return n(s[1](i))",
            id="shared-table",
            setup={"s": _SHARED, "n": "nn.LayerNorm(8)"},
            rows=20,
            i="i64[1,8]",
        ),
        Case(
            "j = i.view(-1, 8)\nm = j.ne(0).long()\nreturn n(e(j) + q(m * j))",
            id="masked-indexes",
            setup=_TABLES,
            rows=16,
            i="i64[1,8]",
        ),
        Case(
            "n(q((x > 0.3).long().cumsum(1)))",
            id="counted-places",
            setup=_TABLES,
            x="f32[1,8]",
        ),
        Case(
            "n(e(i) + v(3 * i + 2))",
            id="multiplied-indexes",
            setup={**_TABLES, "v": "nn.Embedding(70, 8)"},
            rows=16,
            i="i64[1,8]",
        ),
        Case(
            "c(x) / s",
            id="divided-by-integers",
            setup={"c": "nn.Conv2d(3, 4, 1)", "s": "torch.tensor([3, 5, 2, 7, 9])"},
            x="f32[1,3,6,5]",
        ),
        Refused(
            "n(e(i) + q(i // 4))",
            id="divided-indexes",
            because="how large",
            setup=_TABLES,
            rows=16,
            i="i64[1,8]",
        ),
        Refused("i.float() * 2.5", id="integers-without-bounds", because="integers", i="i64[1,8]"),
        Refused(
            "q((x > 0.3).long().cumsum(1))",
            id="infinite-table",
            because="infinities",
            setup={"q": "nn.Embedding.from_pretrained(torch.full((16, 8), float('inf')))"},
            x="f32[1,8]",
        ),
    )
