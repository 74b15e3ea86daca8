"""Llama 3's tokenizer.model by hand: ranks are ids, each token has the one pair that makes it, and special names."""

from __future__ import annotations

from verify.tokenizers.ranks import merges_of, rules_of_ranks

# "ba" is before "ab": in "abab" the middle pair merges first, and no two parts are left
TOKENS = (b"a", b"b", b"c", b"ba", b"ab", b"bab", b"abab", b"abc", b"aa", b"aaaa")
RANKS = {token: rank for rank, token in enumerate(TOKENS)}


def test_each_token_has_the_pair_that_all_earlier_ranks_leave() -> None:
    made = {TOKENS[left] + TOKENS[right]: (TOKENS[left], TOKENS[right]) for left, right in merges_of(RANKS)}
    assert made == {
        b"ba": (b"b", b"a"),
        b"ab": (b"a", b"b"),
        b"bab": (b"ba", b"b"),
        # a, ba, b -> a, bab
        b"abab": (b"a", b"bab"),
        b"abc": (b"ab", b"c"),
        b"aa": (b"a", b"a"),
        b"aaaa": (b"aa", b"aa"),
    }


def test_merges_are_in_the_order_of_ranks() -> None:
    wholes = [RANKS[TOKENS[left] + TOKENS[right]] for left, right in merges_of(RANKS)]
    assert wholes == [3, 4, 5, 6, 7, 8, 9]


def test_a_token_that_no_two_parts_make_has_no_merge() -> None:
    assert merges_of({b"a": 0, b"b": 1, b"c": 2, b"abc": 3}) == ()
    # the pair comes too late
    assert merges_of({b"a": 0, b"b": 1, b"c": 2, b"abc": 3, b"ab": 4}) == ((0, 1),)


def test_the_leftmost_of_equal_pairs_merges_first() -> None:
    assert merges_of({b"a": 0, b"aa": 1, b"aaa": 2}) == ((0, 0), (1, 0))


def test_the_special_tokens_follow_the_last_rank() -> None:
    found = rules_of_ranks(RANKS)
    rules, count = found.rules, len(RANKS)
    assert rules.pieces[:count] == TOKENS
    assert len(rules.pieces) == count + 256
    assert rules.added == dict.fromkeys(range(count, count + 256), 1)
    names = [name.decode() for name in rules.pieces[count:]]
    assert names[:12] == [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>",
        "<|reserved_special_token_2|>",
        "<|reserved_special_token_3|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|reserved_special_token_4|>",
        "<|eot_id|>",
        "<|reserved_special_token_5|>",
        "<|reserved_special_token_6|>",
    ]
    assert names[-1] == "<|reserved_special_token_250|>"
    assert (rules.pre_tokenizer, rules.ignore_merges, rules.add_bos, rules.add_eos) == ("llama3", True, True, False)
    assert (rules.bos, rules.eos, rules.ends) == (count, -1, (count + 1, count + 9))


def test_llama_3_1_has_other_names_and_one_end_more() -> None:
    found, count = rules_of_ranks(RANKS), len(RANKS)
    assert found.eos == {count + 1, count + 9}
    assert found.ends == {count + 1, count + 8, count + 9}
    assert found.more_merges
    assert {n - count: sorted(name.decode() for name in found.pieces[n]) for n in range(count, count + 12)} == {
        0: ["<|begin_of_text|>"],
        1: ["<|end_of_text|>"],
        2: ["<|reserved_special_token_0|>"],
        3: ["<|reserved_special_token_1|>"],
        4: ["<|finetune_right_pad_id|>"],
        5: ["<|reserved_special_token_2|>", "<|step_id|>"],
        6: ["<|start_header_id|>"],
        7: ["<|end_header_id|>"],
        8: ["<|eom_id|>"],
        9: ["<|eot_id|>"],
        10: ["<|python_tag|>"],
        11: ["<|reserved_special_token_2|>", "<|reserved_special_token_3|>"],
    }
    assert sorted(found.pieces) == list(range(count, count + 256))
