"""What the encoder that is made once writes is what the standard library's writes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env.json_encoder import encoder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.floats(), inner),
)


@pytest.mark.parametrize("ensure_ascii", [True, False])
@given(value=VALUES)
def test_it_writes_what_json_dumps_writes(ensure_ascii, value):
    written = encoder(ensure_ascii=ensure_ascii)(value)

    assert written == json.dumps(value, ensure_ascii=ensure_ascii, separators=(",", ":"))


def test_what_json_lacks_is_turned_or_refused():
    assert encoder(default=sorted)({"a": {3, 1, 2}}) == '{"a":[1,2,3]}'
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        encoder()({1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        encoder(allow_nan=False)([float("nan")])


def test_a_value_that_contains_itself_raises():
    value: list[object] = []
    value.append(value)

    with pytest.raises(RecursionError):
        encoder()(value)
    assert encoder()([1]) == "[1]"
