"""What looks like a secret does not get through, and what does not look like one stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.masking import MASK, mask, mask_bytes

LETTERS = "Ab1" * 14
SECRETS = [
    f"sk-{LETTERS}",
    f"ghp_{LETTERS}",
    f"github_pat_{LETTERS}",
    f"glpat-{LETTERS}",
    f"xoxb-{LETTERS}",
    "AKIA" + "ABCD" * 4,
    f"AIza{LETTERS}",
    f"eyJ{LETTERS}.{LETTERS}.{LETTERS}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{LETTERS}\n{LETTERS}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\n{LETTERS}",
]


@pytest.mark.rule("W23")
@pytest.mark.parametrize("secret", SECRETS)
def test_keys_and_tokens_are_masked_where_they_stand(secret: str) -> None:
    masked = mask(f"before {secret}")
    assert masked == f"before {MASK}"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (f"Authorization: Bearer {LETTERS}", f"Authorization: Bearer {MASK}"),
        (f"authorization:basic {LETTERS}", f"authorization:basic {MASK}"),
        (f"API_KEY={LETTERS}", f"API_KEY={MASK}"),
        (f'db_password: "{LETTERS}"', f'db_password: "{MASK}"'),
        (f"MY_TOKEN = '{LETTERS}' # note", f"MY_TOKEN = '{MASK}' # note"),
    ],
)
def test_assigned_values_are_masked_and_their_names_stay(line: str, kept: str) -> None:
    assert mask(line) == kept


@pytest.mark.parametrize(
    "line", ["the token was refused", "12 passed in 0.3 s", "sk-short", "password: none", "a1b2" * 16]
)
def test_plain_words_stay(line: str) -> None:
    assert mask(line) == line


@given(st.text(max_size=40))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = mask(f"x {text} TOKEN={LETTERS}")
    assert LETTERS not in once
    assert mask(once) == once


@given(st.binary(max_size=60))
def test_bytes_that_are_not_text_survive(data: bytes) -> None:
    if mask(data.decode("utf-8", "surrogateescape")) == data.decode("utf-8", "surrogateescape"):
        assert mask_bytes(data) == data
    assert mask_bytes(b"\xff " + SECRETS[0].encode()) == b"\xff " + MASK.encode()
