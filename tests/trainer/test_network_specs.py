"""Specifications of networks: their names and texts, and what is refused."""

import pickle
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.network_specs import MAX_PARAMETERS, NETWORKS, Block, NetworkSpec, find_network

MLP = {"kind": "mlp", "inputs": (1, 28, 28), "outputs": 10, "depth": 2, "width": 32}
CNN = {**MLP, "kind": "cnn"}
TOKENS = {"examples": "tokens", "inputs": (256, 256)}
LARGE: dict[NetworkKind, dict[str, Any]] = {
    NetworkKind.MLP: {"inputs": (3, 32, 32)},
    NetworkKind.CNN: {"inputs": (3, 32, 32)},
    NetworkKind.CNN_1D: TOKENS,
    NetworkKind.TRANSFORMER: TOKENS,
}

changes = st.fixed_dictionaries(
    {},
    optional={
        "depth": st.integers(1, 5),
        "width": st.integers(8, 128),
        "norm": st.booleans(),
        "activation": st.sampled_from(["relu", "tanh"]),
        "initial_scale": st.floats(0.2, 4.0),
        "outputs": st.integers(3, 50),
    },
)


def spec_of(**told: Any) -> NetworkSpec:
    return NetworkSpec(**{**MLP, **told})


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_named_network_is_found_by_its_name_and_has_it(name: str) -> None:
    assert find_network(name) is NETWORKS[name]
    assert NETWORKS[name].name == name
    assert NetworkSpec.parse(NETWORKS[name].text).name == name


@settings(deadline=None)
@given(told=changes, others=changes)
def test_a_network_without_a_name_is_named_by_its_text_which_tells_all_of_it(
    told: dict[str, Any], others: dict[str, Any]
) -> None:
    spec, other = spec_of(**told), spec_of(**others)

    assert find_network(spec.name) == spec == pickle.loads(pickle.dumps(spec))
    assert (spec.name == other.name) == (spec == other)


def test_the_text_leaves_out_what_has_its_default_value() -> None:
    spec = spec_of(width=64, activation="tanh")

    assert spec.name == '{"activation":"tanh","depth":2,"inputs":[1,28,28],"kind":"mlp","outputs":10,"width":64}'


def test_whole_numbers_and_lists_are_taken_in_any_form_and_make_the_same_value() -> None:
    assert spec_of(width=32.0, initial_scale=1, inputs=[1, 28, 28]) == spec_of()
    assert spec_of(width=32.0, initial_scale=1, inputs=[1, 28, 28]).text == spec_of().text


@pytest.mark.parametrize(
    "text",
    [
        "transformer",
        "",
        "[]",
        "3",
        "{",
        '{"kind":"mlp"}',
        '{"kind":"mlp","wings":2}',
        "[" * 5_000,
        "null",
        '{"kind":[]}',
    ],
)
def test_what_is_no_name_and_no_text_is_refused_with_the_names_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match="a network must be one of simple_mlp, small_cnn, deeper_cnn, batch_norm_mlp"):
        find_network(text)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"kind": "rnn"}, "kind must be one of mlp, cnn, cnn_1d, transformer, got 'rnn'"),
        ({"depth": 0}, "depth must be a whole number in [1, 8], got 0"),
        ({"depth": True}, "depth must be a whole number in [1, 8], got True"),
        ({"width": 2.5}, "width must be a whole number in [1, 1024], got 2.5"),
        ({"width": "64"}, "width must be a whole number in [1, 1024], got '64'"),
        ({"initial_scale": 0.0}, "initial_scale must be a number in (0, 10], got 0.0"),
        ({"initial_scale": float("nan")}, "initial_scale must be a number in (0, 10], got nan"),
        ({"norm": 1}, "norm must be true or false, got 1"),
        ({"activation": "gelu"}, "activation must be one of relu, tanh, got 'gelu'"),
        ({"outputs": 1}, "outputs must be a whole number in [2, 65536], got 1"),
        ({"inputs": (28, 28)}, "inputs must be (channels, height, width) for images, got (28, 28)"),
        ({"inputs": 784}, "inputs must be (channels, height, width) for images, got 784"),
        ({"inputs": (1, 0, 28)}, "height of inputs must be a whole number in [1, 65536], got 0"),
        ({"examples": "tables"}, "inputs must be (columns) for tables, got (1, 28, 28)"),
        (
            {"kind": "cnn_1d", "examples": "tables", "inputs": (64,)},
            "a network of kind cnn_1d reads sequences, tokens, not tables",
        ),
        ({"kind": "transformer"}, "a network of kind transformer reads sequences, tokens, not images"),
        (
            {"kind": "transformer", "examples": "tokens", "inputs": (513, 9)},
            "a transformer reads a length of at most 512, got 513",
        ),
        (
            {"kind": "transformer", "examples": "tokens", "inputs": (64, 9), "target": "next_token"},
            "outputs must be the vocabulary, 9, for next_token, got 10",
        ),
        (
            {"kind": "transformer", "examples": "sequences", "inputs": (64, 9), "target": "next_token"},
            "the target next_token needs tokens, not sequences",
        ),
        (
            {"kind": "cnn_1d", "examples": "tokens", "inputs": (64, 10), "target": "next_token"},
            "a network of kind cnn_1d predicts classes, not next_token",
        ),
        (
            {"kind": "cnn", "examples": "sequences", "inputs": (20, 3)},
            "a network of kind cnn reads images, not sequences",
        ),
        ({"target": "next_token"}, "a network of kind mlp predicts classes, not next_token"),
        ({"hidden": 64}, "hidden is for networks of kind cnn, and must be 0 for kind mlp"),
        ({"first_stride": 2}, "first_stride is for networks of kind cnn, and must be 1 for kind mlp"),
        ({"first_stride": 3, "kind": "cnn"}, "first_stride must be a whole number in [1, 2], got 3"),
        ({"inputs": (3, 224, 224), "width": 1024}, "a network may have 20,000,000 parameters, and this one would have"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused_in_words(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        spec_of(**told)


def test_a_network_of_the_largest_size_is_taken() -> None:
    columns = (MAX_PARAMETERS - 2 * 1025 - 1024) // 1024
    spec = spec_of(examples="tables", inputs=(columns,), depth=1, width=1024, outputs=2)

    assert MAX_PARAMETERS - 1024 < spec.parameter_count <= MAX_PARAMETERS


@pytest.mark.parametrize("kind", NetworkKind)
def test_a_network_that_a_family_may_draw_is_within_bounds(kind: NetworkKind) -> None:
    for depth in range(1, 6):
        for width in (8, 128):
            spec = replace(spec_of(), kind=kind, depth=depth, width=width, outputs=50, **LARGE[kind])
            assert spec.parameter_count <= MAX_PARAMETERS


def test_blocks_halve_the_image_until_a_side_is_below_four_and_grow_by_the_width() -> None:
    assert NetworkSpec(**{**CNN, "inputs": (3, 8, 9), "depth": 4, "width": 5}).blocks == (
        Block(3, 5, 1, True),
        Block(5, 10, 1, True),
        Block(10, 15, 1, False),
        Block(15, 20, 1, False),
    )


def test_a_first_block_with_a_stride_does_not_pool() -> None:
    spec = NETWORKS["deeper_cnn"]

    assert [(block.stride, block.pools) for block in spec.blocks] == [(2, False), (1, True), (1, True)]
    assert spec.features == 48 * 4 * 4


def test_blocks_for_tokens_begin_with_the_width_and_halve_the_length_until_it_is_below_four() -> None:
    spec = NetworkSpec(**{**MLP, **TOKENS, "kind": "cnn_1d", "inputs": (9, 256), "depth": 3, "width": 5})

    assert spec.blocks == (Block(5, 5, 1, True), Block(5, 5, 1, True), Block(5, 5, 1, False))
    assert replace(spec, examples="sequences", inputs=(9, 3)).blocks[0] == Block(3, 5, 1, True)  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "heads", "size"), [(1, 1, 1), (31, 1, 31), (32, 2, 16), (35, 2, 17), (128, 8, 16)])
def test_a_transformer_has_a_head_for_each_sixteen_units_of_its_width(width: int, heads: int, size: int) -> None:
    spec = NetworkSpec(**{**MLP, **TOKENS, "kind": "transformer", "width": width})

    assert (spec.heads, spec.head_size) == (heads, size)
