from modelscope_beit.data.wording import some_mistakes, some_of


def test_some_of__tells_how_many_more_there_are() -> None:
    assert some_of(["a, b", "c"]) == "'a, b', 'c'"
    assert some_of(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"


def test_some_mistakes__tells_how_many_more_there_are() -> None:
    assert some_mistakes(["line 1", "line 2"]) == "line 1; line 2"
    assert some_mistakes([str(number) for number in range(13)]).endswith("9; and 3 more")
