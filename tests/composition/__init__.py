"""What a snippet may call.

Here are surfaces and schemas as hypothesis draws them: few names, so that they meet, and much nonsense.
"""

from typing import Any

from hypothesis import strategies as st

from playhead.policy.level import LEVELS

texts = st.text(max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts.filter(lambda text: text.isprintable()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts.filter(lambda text: text.isprintable()), inner, max_size=3)
    ),
    max_leaves=12,
)

keys = st.sampled_from(
    [
        *("name", "tools", "function", "parameters", "inputSchema", "outputSchema", "returns", "annotations"),
        *("policy", "kind", "side_effect_level", "capabilities", "arg_schema", "path_params", "executor"),
        *("readOnlyHint", "destructiveHint", "metadata", "_meta", "_mcp_server", "examples", "description"),
        *("type", "properties", "items", "required", "enum", "const", "anyOf", "allOf", "$ref", "$defs", "a"),
        *("x-a-output-schema", "defer_loading", "nullable", "additionalProperties", "namespace", "\udfff"),
    ]
) | st.text(max_size=3)

# What a JSON parser lets through and a log does not: NaN, lone surrogates, integers of any size.
wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=4)
    | st.sampled_from(["\ud800", "read", "read_only", "string", "object", "#/$defs/a", 2**70]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)
NAMES = [
    "read",
    "read.file",
    "read_file",
    "read-file",
    "2fa",
    "_2fa",
    "match",
    "for",
    "len",
    "tool",
    "äö",
    "-",
    "x",
    "x_2",
]
names = st.sampled_from(NAMES) | st.text(min_size=1, max_size=6).filter(lambda name: bool(name.strip()))

plain_schemas = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": ["a", 'b"', None]}, {}, True, "int"]),
    lambda inner: (
        st.builds(lambda one: {"type": "array", "items": one}, inner)
        | st.builds(lambda many: {"anyOf": many}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(
            lambda props, required: {"type": "object", "properties": props, "required": required},
            st.dictionaries(
                st.sampled_from(["a", "b-c", "class", "str", "__x", "N"]) | texts, inner, max_size=3
            ),
            st.lists(st.sampled_from(["a", "z"]), max_size=2),
        )
    ),
    max_leaves=8,
)
annotations: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["read", "edit", "nonsense"]),
        "side_effect_level": st.sampled_from([*LEVELS, "telepathy"]),
        "readOnlyHint": st.booleans(),
        "destructiveHint": st.booleans(),
    },
)
tools: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": names},
    optional={
        "description": texts,
        "inputSchema": plain_schemas,
        "outputSchema": plain_schemas,
        "annotations": annotations,
        "_mcp_server": texts,
        "executor": texts,
        "metadata": st.dictionaries(texts, st.integers(-9, 9), max_size=2),
    },
)
surfaces = st.lists(tools, max_size=6)
